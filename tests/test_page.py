"""The live page: what it tells, who may change what, and whom it turns away."""

from __future__ import annotations

import calendar
import hashlib
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from pydantic import ValidationError

from kenpin.config.errors import ConfigError
from kenpin.config.line import load_line
from kenpin.config.page import LANGUAGES, ROLES, PageSpec
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.manifest import canonical
from kenpin.runtime.bundles.pack import by_hand, rethreshold
from kenpin.runtime.bundles.signature import make_key, sign
from kenpin.runtime.judging.verdict import Outcome, Reason
from kenpin.runtime.service.cli import main as edge_run
from kenpin.runtime.service.reviews import Reviews
from kenpin.runtime.service.sides.page.accounts import (
    FREE_TRIES,
    IDLE_S,
    Accounts,
    Logins,
    TooManyTriesError,
)
from kenpin.runtime.service.sides.page.app import CLIENT, TEXTS
from kenpin.runtime.service.sides.page.events import READERS
from kenpin.runtime.service.sides.page.live import HOURS, STRIP, LiveLine
from page_server import ABOUT, Served, counts, fill, jpeg, served, stretch, verdict
from test_learning import reviewed
from test_reviews import archive as entries

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
TEXT = {language: json.loads((TEXTS / f"{language}.json").read_text()) for language in LANGUAGES}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("page")) as one:
        fill(one.live)
        one.visit()
        yield one


# -- texts and files ----------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_language_lacks_a_text_or_a_value_in_it(language) -> None:
    own = TEXT[language]
    assert own.keys() == TEXT["en"].keys()
    assert all(text.strip() for text in own.values())
    values = re.compile(r"\{(\w+)\}")
    for key, text in TEXT["en"].items():
        assert set(values.findall(own[key])) == set(values.findall(text)), key


def test_every_text_that_the_client_asks_for_is_there_and_none_is_idle() -> None:
    code = "\n".join(file.read_text() for file in CLIENT.iterdir())
    asked = set(re.findall(r'data-(?:t|label)="(\w+)"', code)) | set(re.findall(r'"(\w+)"', code))
    # Keys that are put together: `why_${reason}` and the like.
    heads = tuple(re.findall(r"`(\w+_)\$\{", code))
    assert {"why_", "reason_", "state_", "change_", "kind_", "role_", "tab_", "word_"} <= set(heads)
    known = TEXT["en"].keys()
    used = set(re.findall(r'\bt\("(\w+)"', code)) | set(
        re.findall(r'data-(?:t|label)="(\w+)"', code)
    )
    assert used <= known
    assert {key for key in known if key not in asked and not key.startswith(heads)} == set()
    for why in ("behind", "not_ready", "died", "disk", "no_room", "stale"):
        assert f"unkept_{why}" in known
    for reason in Reason:
        assert {f"why_{reason.value}", f"reason_{reason.value}"} <= known


def test_the_client_asks_nobody_else_and_needs_no_eval() -> None:
    for file in CLIENT.iterdir():
        text = file.read_text()
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), file.name
        assert not re.search(r"\beval\(|new Function|innerHTML|outerHTML|document\.write", text)
        assert not re.search(r'\bon\w+="|style="', text), file.name


def test_what_is_served_is_what_was_committed() -> None:
    listed = json.loads((CLIENT.parent / "client.json").read_text())
    found = {
        file.relative_to(CLIENT.parent).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for folder in (CLIENT, TEXTS)
        for file in sorted(folder.iterdir())
    }
    assert listed["files"] == found, "python -m kenpin.runtime.service.sides.page.hashes"


# -- what it tells ------------------------------------------------------------------------


def test_the_state_tells_the_last_ng_its_nearest_good_and_the_counts(page: Served) -> None:
    status, told, _ = page.ask("/api/state")
    assert status == 200
    assert told["last_ng"]["seq"] == told["pictured_ng"]["seq"] == 40
    # The good ones grow brighter: the last of them is most like the bright NG.
    assert told["nearest"] == 39
    assert told["total"] == {"ok": 90, "ng": 10, "reasons": {"defect": 8, "late": 2}}
    assert told["last_ng"]["place"] == [150 / 320, 20 / 128]
    assert [a["part"] for a in told["alarms"]] == ["camera"]
    assert sum(one["ok"] for one in told["counted"]) == 36
    for which in ("small", "plain", "heat"):
        status, data, headers = page.ask(f"/api/picture/40/{which}")
        assert (status, data[:2], headers["Content-Type"]) == (200, b"\xff\xd8", "image/jpeg")


def test_of_a_web_of_several_lanes_it_is_said_which_was_rejected() -> None:
    live = LiveLine(ABOUT, 60)
    web = stretch(4)
    left, right = web.lanes
    bad = replace(right, outcome=Outcome.NG, reason=Reason.DEFECT)
    live.verdict(1, verdict(ok=False, web=replace(web, lanes=(left, bad))), (256, 320))
    live.verdict(2, verdict(ok=False, web=replace(web, lanes=(bad,))), (256, 320))
    live.verdict(3, verdict(ok=False), (256, 320))
    assert [one["lanes"] for one in live.tree()["strip"]] == [("right",), (), ()]
    assert [one["defects"] for one in live.tree()["strip"]] == [1, 1, 0]


def test_a_line_that_is_not_heard_is_said_to_be_silent() -> None:
    now = [0.0]
    live = LiveLine(ABOUT, 60, clock=lambda: now[0])
    assert live.tree()["silent"]
    live.counts(counts())
    assert not live.tree()["silent"]
    now[0] = 3.5
    assert live.tree()["silent"]


def test_the_strip_and_its_pictures_are_bounded() -> None:
    live = LiveLine(ABOUT, 60)
    small = jpeg(90, 32, 16)
    for seq in range(2 * STRIP):
        live.pictures(seq, ok=seq % 3 > 0, small=small, plain=b"p", heat=b"h")
        live.verdict(seq, verdict(seq % 3 > 0), (16, 32))
    told = live.tree()
    assert [one["seq"] for one in told["strip"]] == list(range(STRIP, 2 * STRIP))
    assert live.picture(3, "plain") is None
    assert live.picture(2 * STRIP - 1, "plain") == b"p"
    assert sum(live.picture(seq, "plain") is not None for seq in range(2 * STRIP)) <= STRIP + 24


def test_a_part_belongs_to_the_shift_that_runs_by_the_boxes_clock() -> None:
    now = [0.0]
    # The box's clock is half an hour before UTC, as some zones are.
    live = LiveLine(
        ABOUT, 60, ("22:15", "05:45"), lambda: now[0], local=lambda at: time.gmtime(at + 1800)
    )
    for at, ok in (("05:44", True), ("05:45", True), ("05:59", False), ("06:00", True)):
        now[0] = calendar.timegm((2026, 3, 1, int(at[:2]), int(at[3:]), 7)) - 1800
        live.verdict(1, verdict(ok))
    told = [(c["shift"], c["ok"], c["ng"]) for c in live.tree()["counted"]]
    assert told == [
        ("2026-02-28 22:15", 1, 0),
        ("2026-03-01 05:45", 1, 1),
        ("2026-03-01 05:45", 1, 0),
    ]
    hours = [c["hour"] for c in live.tree()["counted"]]
    assert hours[0] == hours[1] == hours[2] - 3600 == calendar.timegm((2026, 3, 1, 4, 30, 0))
    # Three days of hours, however many shifts divide them.
    for hour in range(200):
        now[0] += 1800
        live.verdict(1, verdict(bool(hour)))
    assert len({c["hour"] for c in live.tree()["counted"]}) == HOURS


def test_an_alarm_that_was_seen_says_by_whom_until_it_is_another(page: Served) -> None:
    live = LiveLine(ABOUT, 60, wall=lambda: 5.0)
    live.counts(counts(camera="warm"))
    assert live.acknowledge("camera", "jana")
    assert live.tree()["alarms"][0]["acknowledged"] == {"by": "jana", "at": 5.0, "detail": "warm"}
    assert not live.acknowledge("disk", "jana")
    live.counts(counts(camera="hot"))
    assert live.tree()["alarms"][0]["acknowledged"] is None
    assert page.ask("/api/acknowledge", {"part": "camera"})[0] == 200
    assert page.ask("/api/acknowledge", {"part": "nothing"})[0] == 404
    (entry,) = [entry for entry in page.audit.entries() if entry.what == "alarm"]
    assert (entry.item, entry.who.via, entry.after) == ("camera", "page", {"acknowledged": True})


# -- whom it turns away -------------------------------------------------------------------


def test_every_answer_forbids_scripts_of_others_and_frames(page: Served) -> None:
    for path in ("/", "/file/page.js", "/api/state", "/nothing", "/api/picture/9999/plain"):
        _, _, headers = page.ask(path)
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_name_that_the_page_is_not_called_is_refused(page: Served) -> None:
    assert page.ask("/api/state", Host="evil.example")[0] == 403
    assert page.ask("/api/state", Host=f"localhost:{page.port}")[0] == 200


def test_a_change_needs_the_pages_own_secret_and_origin(page: Served) -> None:
    body = {"part": "camera"}
    assert page.ask("/api/acknowledge", body, X_Kenpin="guessed")[0] == 403
    assert page.ask("/api/acknowledge", body, Origin="http://evil.example")[0] == 403
    assert page.ask("/api/acknowledge", body, Sec_Fetch_Site="cross-site")[0] == 403
    assert page.ask("/api/acknowledge", body, Cookie="kenpin=guessed")[0] == 401
    assert page.ask("/api/acknowledge", raw=b"part=camera", Content_Type="text/plain")[0] == 415
    assert page.ask("/api/acknowledge", body, Origin=page.url.rstrip("/"))[0] == 200


def test_a_body_is_exactly_what_is_expected_and_small(page: Served) -> None:
    for body in ({}, {"part": 3}, {"part": "camera", "more": 1}, ["part"], {"part": True}):
        assert page.ask("/api/acknowledge", body)[0] == 400
    assert page.ask("/api/acknowledge", raw=b"{" * 1000)[0] == 400
    assert page.ask("/api/acknowledge", raw=b" " * 200_000)[0] == 413


def test_no_change_is_made_without_session_secret_kind_and_size(page: Served) -> None:
    """Every address that changes something, those of tomorrow included."""
    guarded = [path for path in page.changing if path != "/login"]
    assert {"/api/threshold", "/api/learn", "/api/back", "/api/review"} < set(guarded)
    for path in guarded:
        assert page.ask(path, {}, Cookie="")[0] == 401, path
        assert page.ask(path, {}, X_Kenpin="")[0] == 403, path
        assert page.ask(path, {}, X_Kenpin="guéssed".encode().decode("latin-1"))[0] == 403, path
        assert page.ask(path, {}, Origin="http://evil.example")[0] == 403, path
        assert page.ask(path, {}, Host="evil.example")[0] == 403, path
        if path != "/logout":
            assert page.ask(path, raw=b"a=b", Content_Type="text/plain")[0] == 415, path
            assert page.ask(path, raw=b" " * 200_000)[0] == 413, path
            assert page.ask(path, {"unheard": "of"})[0] == 400, path
        # GET changes nothing.
        assert page.ask(path, method="GET")[0] == (409 if path == "/api/threshold" else 405), path


# By address: what its line in the audit log is about, and an example; "now" and "before" are the
# bundles. Learning is the last one: nobody learns here.
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "/api/threshold": ("threshold", {"ok": 9.0, "of": "now", "why": "fewer false rejects"}),
    "/api/back": ("bundle", {"to": "before", "why": "too many escapes"}),
    "/api/review": ("review", {"number": 1, "says": "good", "word": "", "region": None}),
    "/api/acknowledge": ("alarm", {"part": "camera"}),
    "/api/learn": ("bundle", {"of": "now", "why": "a new loom"}),
}


def test_every_change_is_a_line_of_the_audit_log(
    patchcore: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of tomorrow included: an address without an example here fails."""
    learnt = subprocess.CompletedProcess([], 0, b'{"after": {"bundle": "learnt-0"}}')
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: learnt)
    store = tmp_path / "store"
    store.mkdir()
    (store / patchcore.folder.name).symlink_to(patchcore.folder)
    (store / "current").symlink_to(patchcore.folder.name)
    with served(tmp_path, store, archive=reviewed(tmp_path / "archive", 1, 0)) as one:
        one.live.counts(counts(patchcore.label, camera="the camera is warm"))
        one.visit()
        assert {*CHANGES, "/login", "/logout"} == set(one.changing)
        for number, (path, (what, body)) in enumerate(CHANGES.items(), 1):
            change = one.ask("/api/state")[1]
            bundles = {"now": change["bundle"], "before": change["change"]["back"]}
            asked = {key: bundles.get(str(value), value) for key, value in body.items()}
            status, told, _ = one.ask(path, asked)
            assert status == 200, (path, told)
            deadline = time.monotonic() + 30
            while len(entries := one.audit.entries()) < number:
                assert time.monotonic() < deadline, f"{path}: not in the audit log"
                time.sleep(0.01)
            assert (entries[-1].what, entries[-1].why) == (what, body.get("why", "")), path
            assert (entries[-1].who.via, entries[-1].who.user) == ("page", "local"), path
            label = "@".join(one.wanted[-1].rsplit("-", 1))
            one.live.counts(counts(label, camera="the camera is warm"))
            one.changes.changed("active", label, "")


@pytest.mark.parametrize(
    "path",
    [
        "/file/..%2fapp.py", "/file/%2e%2e/app.py", "/file/../../../etc/passwd", "/file/app.py",
        "/roll/..%2f..%2fetc%2fpasswd", "/roll/%2fetc%2fpasswd.html", "/roll/..", "/roll/link.html",
        "/api/picture/1/..%2fsmall", "/api/picture/-1/small",
    ],
)  # fmt: skip
def test_no_address_leaves_the_pages_own_files(page: Served, path: str) -> None:
    assert page.ask(path)[0] == 404


def test_a_rolls_page_is_served_in_a_sandbox(tmp_path: Path) -> None:
    (tmp_path / "roll-0001.html").write_text("<script>1</script>")
    (tmp_path / "secret.txt").write_text("s")
    (tmp_path / "link.html").symlink_to(tmp_path / "secret.txt")
    with served(tmp_path) as one:
        one.visit()
        assert one.ask("/api/rolls")[1] == {"rolls": ["roll-0001.html"]}
        status, _, headers = one.ask("/roll/roll-0001.html")
        assert status == 200
        assert headers["Content-Security-Policy"].startswith("sandbox allow-scripts;")
        assert one.ask("/roll/link.html")[0] == 404
        assert one.ask("/roll/secret.txt")[0] == 404


def test_the_thirty_third_reader_is_told_to_wait(page: Served) -> None:
    open_ones = []
    request = f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {page.cookie}\r\n\r\n"
    try:
        for _ in range(READERS):
            one = socket.create_connection(("127.0.0.1", page.port), timeout=30)
            open_ones.append(one)
            one.sendall(request.encode())
            assert one.recv(12).endswith(b"200")
        assert page.ask("/api/events")[0] == 503
        assert page.ask("/api/state")[0] == 200
    finally:
        for one in open_ones:
            one.close()


# -- people -------------------------------------------------------------------------------


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    made = Accounts(tmp_path / "people.json", QUICK)
    made.set("jana", "correct horse", "set")
    made.set("otto", "battery staple", "look")
    return made


def test_passwords_are_kept_as_argon2_and_nobody_else_reads_them(accounts, tmp_path) -> None:
    text = (tmp_path / "people.json").read_text()
    assert "$argon2id$" in text
    assert "correct horse" not in text
    assert (tmp_path / "people.json").stat().st_mode & 0o007 == 0
    assert accounts.check("jana", "correct horse") == "set"
    assert accounts.check("jana", "correct hors") is None
    assert accounts.check("nobody", "correct horse") is None
    (tmp_path / "people.json").chmod(0o644)
    with pytest.raises(ConfigError, match="others may read"):
        accounts.read()


@pytest.mark.parametrize(("name", "password"), [("a b", "long enough 1"), ("jana", "nine char")])
def test_names_and_passwords_that_will_not_do_are_refused(accounts, name, password) -> None:
    with pytest.raises(ConfigError):
        accounts.set(name, password, "look")


def test_who_guesses_must_wait_longer_each_time_and_the_right_password_too(accounts) -> None:
    now = [0.0]
    sessions = Logins(accounts, "look", lambda: now[0])
    for _ in range(FREE_TRIES):
        with pytest.raises(PermissionError):
            sessions.log_in("jana", "wrong", "10.0.0.9", None)
    for wait in (5.0, 10.0, 20.0):
        with pytest.raises(TooManyTriesError) as refused:
            sessions.log_in("jana", "correct horse", "10.0.0.9", None)
        assert refused.value.wait_s == pytest.approx(wait)
        now[0] += wait
        with pytest.raises(PermissionError):
            sessions.log_in("jana", "wrong", "10.0.0.9", None)
    now[0] += 40
    assert sessions.log_in("jana", "correct horse", "10.0.0.9", None)[1].role == "set"


def test_a_login_makes_a_new_session_and_the_old_cookie_is_void(accounts) -> None:
    now = [0.0]
    sessions = Logins(accounts, "look", lambda: now[0])
    planted = "planted-by-somebody"
    first, one = sessions.log_in("jana", "correct horse", "a", planted)
    assert first != planted
    assert sessions.of(planted) is None
    second, two = sessions.log_in("jana", "correct horse", "a", first)
    assert sessions.of(first) is None
    assert one.csrf != two.csrf
    now[0] += IDLE_S + 1
    assert sessions.of(second) is None


def test_each_role_may_do_what_those_before_it_may_and_no_more(accounts, tmp_path) -> None:
    needed = {
        "/api/threshold": "set", "/api/learn": "set", "/api/back": "set", "/api/review": "review",
        "/api/acknowledge": "look", "/logout": "look",
    }  # fmt: skip
    with served(tmp_path, accounts=tmp_path / "people.json") as one:
        assert set(one.changing) == {*needed, "/login"}
        for number, role in enumerate(ROLES):
            accounts.set(f"p{number}", "battery staple", role)
            one.cookie = ""
            answer = one.ask("/login", {"name": f"p{number}", "password": "battery staple"})
            one.cookie = answer[2]["Set-Cookie"].partition(";")[0]
            one.visit()
            for path, asked in needed.items():
                # What is allowed is looked at further, and this body will not do.
                may = number >= [str(one) for one in ROLES].index(asked)
                found = one.ask(path, raw=b"{}", Content_Type="text/plain")[0]
                assert (found == 403) == (not may), (role, path, found)


def test_who_is_taken_off_or_changed_is_logged_out(accounts) -> None:
    sessions = Logins(accounts, "look")
    jana, _ = sessions.log_in("jana", "correct horse", "a", None)
    otto, _ = sessions.log_in("otto", "battery staple", "b", None)
    assert sessions.of(jana)
    accounts.set("otto", "battery staple", "review")
    assert sessions.of(otto) is None
    assert sessions.of(jana)
    accounts.remove("jana")
    assert sessions.of(jana) is None


def test_people_log_in_over_http_and_may_do_what_their_role_may(accounts, tmp_path) -> None:
    notice = "For staff of plant 2."
    with served(tmp_path, accounts=tmp_path / "people.json", notice=notice) as one:
        one.visit()
        assert one.ask("/api/state")[0] == 401
        assert one.ask("/api/me")[1]["notice"] == notice, "it is told before the login"
        assert one.ask("/login", {"name": "otto", "password": "wrong"})[0] == 401
        status, _, headers = one.ask("/login", {"name": "otto", "password": "battery staple"})
        assert status == 200
        assert {"HttpOnly", "SameSite=strict"} <= set(headers["Set-Cookie"].split("; "))
        one.cookie = headers["Set-Cookie"].partition(";")[0]
        one.visit()
        assert one.ask("/api/state")[0] == 200
        asked = {"ok": 1.0, "of": "b", "why": "because"}
        status, told, _ = one.ask("/api/threshold", asked)
        assert (status, "needs set" in told["error"]) == (403, True)
        assert one.ask("/logout", {})[0] == 200
        assert one.ask("/api/state")[0] == 401


def test_an_open_address_needs_people_and_tls(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="accounts and certificate is missing"):
        PageSpec(address="0.0.0.0")
    with pytest.raises(ValidationError, match="belong together"):
        PageSpec(certificate=tmp_path / "a.pem")
    file = tmp_path / "f"
    PageSpec(address="0.0.0.0", accounts=file, certificate=file, private_key=file)


# -- the threshold ------------------------------------------------------------------------


def test_a_threshold_becomes_a_bundle_that_the_line_is_asked_to_take(
    patchcore: Bundle, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    target = store / patchcore.folder.name
    target.parent.mkdir()
    target.symlink_to(patchcore.folder)
    (store / "current").symlink_to(patchcore.folder.name)
    with served(tmp_path, store) as one:
        one.live.counts(counts(patchcore.label))
        one.visit()
        told = one.ask("/api/threshold")[1]
        assert told["ok"] == patchcore.manifest.threshold.ok
        assert len(told["good"]) == 16
        assert told["default"] == pytest.approx(patchcore.manifest.threshold.ok)
        assert told["of"] == patchcore.folder.name
        for body in ({"ok": -1, "why": "because"}, {"ok": 9.0, "why": " "}):
            assert one.ask("/api/threshold", body | {"of": told["of"]})[0] in (400, 409)
        asked = {"ok": 9.0, "of": told["of"], "why": "fewer false rejects"}
        status, made, _ = one.ask("/api/threshold", asked)
        assert status == 200
        assert one.wanted == [made["bundle"]]
        fresh = read_bundle(store / made["bundle"])
        assert fresh.manifest.threshold.ok == 9.0
        # It is not in force until the line has proven it.
        assert (store / "current").resolve() == patchcore.folder.resolve()
        assert one.ask("/api/threshold", asked | {"ok": 8.0})[0] == 409
        one.changes.changed("active", fresh.label, "")
        one.live.counts(counts(fresh.label))
        before = one.ask("/api/state")[1]["change"]["back"]
        assert before == patchcore.folder.name
        status, back, _ = one.ask("/api/back", {"to": before, "why": "too many escapes"})
        assert (status, back["bundle"]) == (200, patchcore.folder.name)
        assert one.wanted[-1] == patchcore.folder.name
        # One that is not proven leaves the way back as it was.
        one.changes.changed("failed", patchcore.label, "its golden frames score otherwise")
        again = {"to": before, "why": "too many escapes still"}
        assert one.ask("/api/back", again)[0] == 200
        lines = [json.loads(x) for x in (tmp_path / "audit.jsonl").read_text().splitlines()]
        assert [(x["what"], x["why"]) for x in lines] == [
            ("threshold", "fewer false rejects"),
            ("bundle", "too many escapes"),
            ("bundle", "too many escapes still"),
        ]
        assert (lines[0]["who"]["via"], lines[0]["who"]["user"]) == ("page", "local")
        assert lines[0]["after"]["bundle"] == made["bundle"]


def test_what_was_chosen_for_one_product_is_not_done_to_another(
    patchcore: Bundle, tmp_path: Path
) -> None:
    """The PLC changes over while somebody looks at the scores of the product before."""
    store = tmp_path / "store"
    shutil.copytree(patchcore.folder, store / patchcore.folder.name)
    moved = by_hand(patchcore.manifest.threshold, 7.0, 7.0)
    other = rethreshold(patchcore, moved, store).folder.name
    with served(tmp_path, store, archive=reviewed(tmp_path / "archive", 1, 0)) as one:
        one.live.counts(counts(patchcore.label))
        one.visit()
        of = one.ask("/api/threshold")[1]["of"]
        made = one.ask("/api/threshold", {"ok": 9.0, "of": of, "why": "fewer"})[1]["bundle"]
        one.live.counts(counts(made))
        one.changes.changed("active", made, "")
        assert one.ask("/api/state")[1]["change"]["back"] == patchcore.folder.name
        # Now it does.
        one.live.counts(counts(other))
        assert one.ask("/api/state")[1]["change"]["back"] == ""
        for path, body in (
            ("/api/threshold", {"ok": 9.0, "of": made}),
            ("/api/learn", {"of": made}),
            ("/api/back", {"to": patchcore.folder.name}),
        ):
            status, told, _ = one.ask(path, body | {"why": "because"})
            assert (status, other in told["error"]) == (409, True), (path, told)
        assert one.wanted == [made]
        # And back: there is the way that there was.
        one.live.counts(counts(made))
        assert one.ask("/api/back", {"to": made, "why": "because"})[0] == 409
        assert one.ask("/api/back", {"to": patchcore.folder.name, "why": "because"})[0] == 200
        assert one.wanted == [made, patchcore.folder.name]


def test_scores_of_another_bundles_statistics_are_not_counted(
    patchcore: Bundle, tmp_path: Path
) -> None:
    store, archive = tmp_path / "store", tmp_path / "archive"
    shutil.copytree(patchcore.folder, store / patchcore.folder.name)
    moved = rethreshold(patchcore, by_hand(patchcore.manifest.threshold, 9.0, None), store)
    alike, other = moved.label, "elsewhere@0123456789ab"
    for number, (bundle, says) in enumerate(
        [(alike, "good"), (patchcore.label, "defect"), (other, "good")], 1
    ):
        entry = entries(archive, (number,)) / f"ng/000000000/{number:012d}.json"
        told = json.loads(entry.read_text())
        told["verdict"] |= {"score": float(number), "bundle": bundle}
        entry.write_text(json.dumps(told))
        Reviews(archive).say(number, says, "jana", "spot" if says == "defect" else "")
    with served(tmp_path, store, archive=archive) as one:
        one.live.counts(counts(patchcore.label))
        for bundle, score in ((patchcore.label, 0.5), (alike, 0.6), (other, 0.7)):
            one.live.verdict(1, verdict(True, score, bundle=bundle))
        one.visit()
        told = one.ask("/api/threshold")[1]
        assert told["seen"] == [0.5, 0.6]
        assert (told["reviewed_good"], told["reviewed_defects"]) == ([1.0], [2.0])
        assert told["reviewed_others"] == 1
        assert told["alike"] == sorted([patchcore.label, alike])


def test_a_change_that_failed_does_not_stand_in_the_way_of_the_next(
    patchcore: Bundle, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(patchcore.folder, store / patchcore.folder.name)
    (store / "current").symlink_to(patchcore.folder.name)
    with served(tmp_path, store) as one:
        one.live.counts(counts(patchcore.label))
        one.visit()
        log = tmp_path / "audit.jsonl"
        log.mkdir()
        asked = {"ok": 9.0, "of": patchcore.label, "why": "a trial"}
        status, told, _ = one.ask("/api/threshold", asked)
        assert (status, one.wanted) == (409, [])
        assert "audit.jsonl" in told["error"]
        log.rmdir()
        asked = {"ok": 9.0, "of": patchcore.label, "why": "a trial"}
        status, told, _ = one.ask("/api/threshold", asked)
        assert (status, one.wanted) == (200, [told.get("bundle")]), told


def test_where_bundles_are_signed_a_threshold_is_a_proposal(
    patchcore: Bundle, tmp_path: Path
) -> None:
    store, keys = tmp_path / "store", tmp_path / "keys"
    folder = Path(shutil.copytree(patchcore.folder, store / patchcore.folder.name))
    (store / "current").symlink_to(folder.name)
    keys.mkdir()
    public = make_key(tmp_path / "plant.pem")
    shutil.copy(public, keys)
    sign(folder, canonical(patchcore.manifest), tmp_path / "plant.pem")
    with served(tmp_path, store, trust=keys) as one:
        one.live.counts(counts(patchcore.label))
        one.visit()
        assert one.ask("/api/state")[1]["change"]["trust"]
        asked = {"ok": 9.0, "of": patchcore.label, "why": "fewer false rejects"}
        status, told, _ = one.ask("/api/threshold", asked)
        assert (status, told) == (200, {"bundle": "", "proposed": True})
        assert one.wanted == []
        assert sorted(item.name for item in store.iterdir()) == ["current", folder.name]
        (proposal,) = (tmp_path / "proposals").iterdir()
        asked = json.loads(proposal.read_text())
        assert (asked["ok"], asked["bundle"], asked["who"]) == (9.0, folder.name, "local")


# -- the command --------------------------------------------------------------------------


def test_the_command_prints_the_address_and_keeps_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = tmp_path / "line.toml"
    toml.write_text(
        'name = "a"\nbox = "b"\nbundles = "store"\ntrigger = { budget_ms = 60 }\n'
        'camera = { kind = "synthetic", height_px = 128, width_px = 320, rate_hz = 5 }\n'
        'audit = "audit.jsonl"\npage = { port = 8470, accounts = "people.json" }\n'
    )
    assert load_line(toml).page is not None
    assert edge_run(["page", str(toml)]) == 0
    assert capsys.readouterr().out == "http://127.0.0.1:8470/\n"
    with (tmp_path / "password").open("w+") as stream:
        stream.write("a long password\n")
        stream.seek(0)
        monkeypatch.setattr("sys.stdin", stream)
        assert edge_run(["page", str(toml), "add", "jana", "--role", "set"]) == 0
    capsys.readouterr()
    assert edge_run(["page", str(toml), "list"]) == 0
    assert capsys.readouterr().out == "jana\tset\n"
    assert edge_run(["page", str(toml), "remove", "jana"]) == 0
    entries = [json.loads(one) for one in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(one["item"], one["after"]) for one in entries] == [("jana", "set"), ("jana", None)]
