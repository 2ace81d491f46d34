"""What root makes for a service, which is another user, belongs to that user."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from kenpin.runtime.bridges.opcua.access import make_certificate, set_user
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.store import Store
from kenpin.runtime.service.audit import AuditLog, Who
from kenpin.runtime.service.sides.page.accounts import Accounts

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

SERVICE, GROUP = 12345, 12346
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A line's folder, the service's own."""
    folder = tmp_path / "web-1"
    folder.mkdir()
    os.chown(folder, SERVICE, GROUP)
    return folder


def of(path: Path) -> tuple[int, int, int]:
    """Whose a file is, and who may do what with it."""
    status = path.stat()
    return status.st_uid, status.st_gid, status.st_mode & 0o777


def test_people_of_the_page(home: Path) -> None:
    Accounts(home / "people.json", QUICK).set("jana", "correct horse", "set")
    assert of(home / "people.json") == (SERVICE, GROUP, 0o640)


def test_a_file_that_somebody_gave_to_the_service_stays_its_own(tmp_path: Path) -> None:
    """As in /etc, which is root's."""
    people = Accounts(tmp_path / "people.json", QUICK)
    people.set("jana", "correct horse", "set")
    os.chown(tmp_path / "people.json", 0, GROUP)
    people.set("otto", "battery staple", "look")
    people.remove("jana")
    assert of(tmp_path / "people.json") == (0, GROUP, 0o640)


def test_certificates_and_users_of_an_opcua_server(home: Path) -> None:
    today = datetime.datetime.now(datetime.UTC)
    made, secret = make_certificate(home / "opcua", "box-7", ["10.0.0.7"], today=today)
    users = home / "opcua" / "users"
    set_user(users, "plc", "long enough")
    assert of(secret) == (SERVICE, GROUP, 0o600)
    assert of(made) == (SERVICE, GROUP, 0o644)
    assert of(users) == (SERVICE, GROUP, 0o640)
    assert of(home / "opcua") == (SERVICE, GROUP, 0o755)


def test_a_store_whose_links_the_line_sets_and_whose_log_it_writes(
    home: Path, patchcore: Bundle
) -> None:
    """Made by root's first install, neither could be."""
    store = Store(home / "bundles")
    store.install(patchcore.folder)
    AuditLog(store.folder / "audit.jsonl").write(Who("edge-run bundles"), "bundle", "current")
    for path in (store.folder, *store.folder.glob("audit.*")):
        assert of(path)[:2] == (SERVICE, GROUP)
