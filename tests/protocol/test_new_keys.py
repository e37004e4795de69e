"""A service on loopback has new keys at every start; its clients find them by themselves."""

import time
from dataclasses import replace

import pytest
from tiny_job import ENDLESS, tiny_job

from backend.network.keys import Keys, OwnKeys, make_client
from restage4d.protocol.client import Client
from restage4d.protocol.connection import Connection
from restage4d.protocol.errors import Refused, WrongService
from restage4d.protocol.messages import JobProgress

from .conftest import Service
from .test_service import until


def test_keys_are_drawn_for_every_start_unless_others_have_them(tmp_path):
    keys = Keys(tmp_path)
    first, second = (OwnKeys.draw(keys, "127.0.0.1") for _ in range(2))
    assert len({first.service, second.service, first.local, second.local}) == 4
    assert not (tmp_path / "server.json").exists()
    first, second = (OwnKeys.draw(keys, "0.0.0.0") for _ in range(2))
    assert first.service == second.service == keys.server()
    assert first.local != second.local
    assert (tmp_path / "server.json").stat().st_mode & 0o77 == 0


def test_clients_follow_a_service_that_was_started_anew(own, tmp_path):
    own.start()
    before = Connection.read(own.file)
    before.write(tmp_path / "old.json")
    steps, killed = [], False
    with own.client() as client:
        job = client.submit(tiny_job(client.upload, ENDLESS))
        end = time.monotonic() + 120
        for event, _ in client.events(job, lambda: time.monotonic() > end):
            if not isinstance(event, JobProgress) or event.step < 1:
                continue
            if killed:  # an event of the new service, over the same subscription
                steps.append(event.step)
                break
            own.kill()
            own.start()
            killed = True
        assert steps, "no event came after the service was started anew"
        after = Connection.read(own.file)
        assert after.ports == before.ports
        keys = {before.server_key, after.server_key, before.public_key, after.public_key}
        assert len(keys) == 4
        assert client.connection == after
        assert client.alive()
        assert client.cancel(job).id == job
    began = time.monotonic()
    with pytest.raises(WrongService, match="started anew") as caught:
        Client.connect(tmp_path / "old.json", timeout_s=20)
    assert "restage4d serve" in caught.value.remedy
    replace(before, server_key=after.server_key).write(tmp_path / "old.json")
    with pytest.raises(Refused, match="does not know the key"):
        Client.connect(tmp_path / "old.json", timeout_s=20)
    assert time.monotonic() - began < 12
    assert not (own.home / "keys" / "server.json").exists()
    assert "key" not in (own.home / "last.json").read_text()


def test_files_for_other_machines_stay_good(tmp_path):
    service = Service(tmp_path / "home", arguments=("--bind", "0.0.0.0")).start()
    try:
        make_client(service.home, "anna", "127.0.0.1", tmp_path / "anna.json")
        before = Connection.read(service.file)
        with Client.connect(tmp_path / "anna.json", timeout_s=20) as anna:
            assert anna.hello().user == "anna"
            service.kill()
            service.start()
            until(lambda: anna.hello().pid == Connection.read(service.file).pid, 20)
        after = Connection.read(service.file)
        assert after.server_key == before.server_key
        assert after.secret_key != before.secret_key
    finally:
        service.end()
