/* The control socket: a thread that reads words, one command a line, and answers each.
 *
 * KENPINSIM_CONTROL   where the socket is made; a second process that loads the producer while
 *                     the first still listens gets the same path with its process id appended
 * KENPINSIM_SCRIPT    a file of commands obeyed when the producer is loaded
 * KENPINSIM_COMMANDS  commands obeyed after them, separated by semicolons
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sim.h"

#define MAX_CLIENTS 8
#define LINE_ROOM 8192
#define REPLY_ROOM 4096

typedef struct {
    int socket;
    size_t used;
    char line[LINE_ROOM];
} Client;

static struct {
    bool runs;
    pthread_t thread;
    int listener, wake[2];
    struct sockaddr_un address;
    Client clients[MAX_CLIENTS];
    int count;
} control;

/* True if the environment differs from what it was when this was last asked; true at first. */
bool control_settings_changed(void) {
    static const char *const names[] = {"KENPINSIM_CONTROL", "KENPINSIM_SCRIPT",
                                        "KENPINSIM_COMMANDS"};
    static char *known[3];
    static bool asked;
    bool changed = !asked;
    asked = true;
    for (int i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (!value) value = "";
        if (known[i] && strcmp(known[i], value) == 0) continue;
        free(known[i]);
        known[i] = strdup(value);
        changed = true;
    }
    return changed;
}

/* A command that is not obeyed at start must not go unseen: there is nobody to answer. */
static void obey_at_start(char *line) {
    char reply[REPLY_ROOM];
    char shown[120];
    snprintf(shown, sizeof shown, "%s", line);
    obey(line, reply, sizeof reply);
    if (strncmp(reply, "ok", 2) != 0)
        fprintf(stderr, "kenpinsim: \"%s\": %s\n", shown, reply);
}

void control_startup(void) {
    char line[LINE_ROOM];
    const char *path = getenv("KENPINSIM_SCRIPT"), *words = getenv("KENPINSIM_COMMANDS");
    FILE *script = path && path[0] ? fopen(path, "re") : NULL;
    if (path && path[0] && !script)
        fprintf(stderr, "kenpinsim: KENPINSIM_SCRIPT=%s: %s\n", path, strerror(errno));
    while (script && fgets(line, sizeof line, script)) {
        line[strcspn(line, "#\r\n")] = 0;
        if (line[strspn(line, " \t")]) obey_at_start(line);
    }
    if (script) fclose(script);
    for (; words && *words; words += strspn(words, ";")) {
        size_t length = strcspn(words, ";");
        snprintf(line, sizeof line, "%.*s", (int)length, words);
        words += length;
        if (line[strspn(line, " \t")]) obey_at_start(line);
    }
}

static bool answer(int to, const char *text, size_t length) {
    while (length) {
        ssize_t sent = send(to, text, length, MSG_NOSIGNAL);
        if (sent <= 0) return false;
        text += sent;
        length -= (size_t)sent;
    }
    return true;
}

/* Obeys every whole line; false when the client has gone or talks nonsense. */
static bool serve(Client *client) {
    ssize_t got = recv(client->socket, client->line + client->used,
                       sizeof client->line - 1 - client->used, 0);
    if (got <= 0) return false;
    client->used += (size_t)got;
    client->line[client->used] = 0;
    for (char *end; (end = memchr(client->line, '\n', client->used));) {
        char reply[REPLY_ROOM];
        size_t length = (size_t)(end - client->line) + 1;
        *end = 0;
        obey(client->line, reply, sizeof reply - 1);
        strcat(reply, "\n");
        if (!answer(client->socket, reply, strlen(reply))) return false;
        client->used -= length;
        memmove(client->line, client->line + length, client->used + 1);
    }
    return client->used < sizeof client->line - 1;
}

static void drop(int number) {
    close(control.clients[number].socket);
    control.clients[number] = control.clients[--control.count];
}

static void *loop(void *unused) {
    (void)unused;
    for (;;) {
        struct pollfd watch[2 + MAX_CLIENTS] = {{control.wake[0], POLLIN, 0},
                                                {control.listener, POLLIN, 0}};
        for (int i = 0; i < control.count; i++)
            watch[2 + i] = (struct pollfd){control.clients[i].socket, POLLIN, 0};
        int clients = control.count;
        if (poll(watch, (nfds_t)(2 + clients), -1) < 0 && errno != EINTR) return NULL;
        if (watch[0].revents) return NULL;
        for (int i = clients - 1; i >= 0; i--)
            if (watch[2 + i].revents && !serve(&control.clients[i])) drop(i);
        if (watch[1].revents) {
            int client = accept4(control.listener, NULL, NULL, SOCK_CLOEXEC);
            if (client < 0) continue;
            if (control.count == MAX_CLIENTS) drop(0);
            control.clients[control.count].used = 0;
            control.clients[control.count++].socket = client;
        }
    }
}

/* True if somebody listens at this address. */
static bool taken(const struct sockaddr_un *address) {
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) return false;
    bool lives = connect(probe, (const struct sockaddr *)address, sizeof *address) == 0;
    close(probe);
    return lives;
}

/* The socket lives as long as the process, not only while the library is open. */
__attribute__((destructor)) static void control_stop(void) {
    if (!control.runs) return;
    if (write(control.wake[1], "x", 1) == 1) pthread_join(control.thread, NULL);
    while (control.count) drop(0);
    close(control.listener);
    close(control.wake[0]);
    close(control.wake[1]);
    unlink(control.address.sun_path);
    control.runs = false;
}

const char *control_start(void) {
    const char *path = getenv("KENPINSIM_CONTROL");
    control_stop();
    sim.control_path[0] = 0;
    if (!path || !path[0]) return NULL;
    if (strlen(path) + 12 > sizeof control.address.sun_path)
        return "the path is longer than 95 characters; a Unix socket cannot have it";
    snprintf(sim.control_path, sizeof sim.control_path, "%s", path);
    control.address.sun_family = AF_UNIX;
    snprintf(control.address.sun_path, sizeof control.address.sun_path, "%s", path);
    if (taken(&control.address))
        snprintf(control.address.sun_path, sizeof control.address.sun_path, "%.95s.%d", path,
                 (int)getpid());
    unlink(control.address.sun_path);
    control.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (control.listener < 0) return strerror(errno);
    if (bind(control.listener, (struct sockaddr *)&control.address, sizeof control.address) != 0 ||
        listen(control.listener, MAX_CLIENTS) != 0 || pipe(control.wake) != 0) {
        const char *reason = strerror(errno);
        close(control.listener);
        return reason;
    }
    control.count = 0;
    if (pthread_create(&control.thread, NULL, loop, NULL) != 0) {
        close(control.listener);
        return "no thread to be had";
    }
    control.runs = true;
    return NULL;
}
