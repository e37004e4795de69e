"""Who else can read the service's folder. Windows is played back: its commands are compared word by
word, and what they write is as Windows 11 writes it."""

import os

import pytest

from restage4d.cli.computer import doctor
from restage4d.protocol import private_folder
from restage4d.protocol.private_folder import is_shut_on_windows, make_private, shut_on_windows

SID = "S-1-5-21-1004336348-1177238915-682003330-1001"
OTHER = "S-1-5-21-1004336348-1177238915-682003330-1002"
# of a folder in the user's profile: system, administrators and the user, all inherited
PROFILE = f"D:AI(A;OICIID;FA;;;SY)(A;OICIID;FA;;;BA)(A;OICIID;FA;;;{SID})"
ALONE = f"D:PAI(A;OICI;FA;;;{SID})"


class Windows:
    """``whoami`` and ``icacls`` for one folder; ``sid`` is the user's, ``access`` the folder's list
    and ``after`` the one that it has once it was changed."""

    def __init__(self, access: str, after: str = ALONE, sid: str = SID, bom: bytes = b"") -> None:
        self.access, self.after, self.sid, self.bom = access, after, sid, bom
        self.changes: list[list[str]] = []

    def __call__(self, command: list[str]) -> str:
        if command == ["whoami.exe", "/user", "/fo", "csv", "/nh"]:
            return f'"desktop-7k\\anna","{self.sid}"\r\n'
        assert command[0] == "icacls.exe"
        if command[2] == "/save":
            assert command[4:] == ["/q"]
            text = f"restage4d\r\n{self.access}\r\n"
            with open(command[3], "wb") as file:
                file.write(self.bom + text.encode("utf-16-le"))
            return ""
        self.changes.append(command[1:])
        if "/grant:r" in command:
            self.access = self.after
        return ""


@pytest.mark.parametrize(
    ("access", "alone"),
    [
        (ALONE, True),
        (f"O:{SID}G:{SID}D:P(A;OICI;FA;;;{SID})(D;OICI;FA;;;WD)", True),
        (PROFILE, False),
        (f"D:AI(A;OICIID;FA;;;{SID})", False),  # inherited: whoever owns the parent changes it
        (f"D:PAI(A;OICI;FA;;;{SID})(A;OICI;0x1200a9;;;BU)", False),
        (f"D:PAI(A;OICI;FA;;;{OTHER})", False),
        ("D:PAI(A;OICI;FA;;;LA)", False),
        ("D:NO_ACCESS_CONTROL", False),
        ("D:P", False),
        ("D:P(D;OICI;FA;;;WD)", False),
        ("", False),
    ],
)
def test_an_access_list_is_judged(tmp_path, access, alone):
    for bom in (b"", b"\xff\xfe"):
        assert is_shut_on_windows(tmp_path, Windows(access, bom=bom)) is alone


def test_the_built_in_administrator_has_a_name_of_its_own(tmp_path):
    sid = SID.rsplit("-", 1)[0] + "-500"
    assert is_shut_on_windows(tmp_path, Windows("D:PAI(A;OICI;FA;;;LA)", sid=sid))


def test_a_folder_is_shut_with_what_lies_in_it(tmp_path):
    windows, entry = Windows(PROFILE), f"*{SID}:(OI)(CI)F"
    shut_on_windows(tmp_path, windows)
    folder = str(tmp_path)
    assert windows.changes == [
        [folder, "/reset", "/q"],
        [folder, "/inheritance:r", "/grant:r", entry, "/q"],
    ]
    (tmp_path / "jobs.sqlite").touch()
    windows.access = PROFILE
    windows.changes.clear()
    shut_on_windows(tmp_path, windows)
    assert windows.changes[2] == [str(tmp_path / "*"), "/reset", "/t", "/c", "/q"]
    windows.changes.clear()
    shut_on_windows(tmp_path, windows)  # it is: nothing is touched
    assert windows.changes == []


def test_one_that_stays_open_is_an_error(tmp_path):
    with pytest.raises(OSError, match="still lets others in"):
        shut_on_windows(tmp_path, Windows(PROFILE, after=PROFILE))
    with pytest.raises(OSError, match="no SID"):
        shut_on_windows(tmp_path, Windows(PROFILE, sid="anna"))


def test_a_program_that_fails_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path))
    (tmp_path / "System32").mkdir()
    program = tmp_path / "System32" / "icacls.exe"
    program.write_text("#!/bin/sh\necho 'Access is denied.' >&2\nexit 5\n")
    program.chmod(0o700)
    with pytest.raises(OSError, match=r"icacls\.exe failed: Access is denied\."):
        private_folder._run(["icacls.exe", "x"])
    program.write_text("#!/bin/sh\necho $1\n")
    assert private_folder._run(["icacls.exe", "x"]) == "x\n"


@pytest.mark.skipif(os.name == "nt", reason="modes")
def test_modes_and_what_the_doctor_says(tmp_path):
    before = os.umask(0o022)
    try:
        folder = tmp_path / "a" / "home"
        make_private(folder)
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").touch()
        assert (folder / "file").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    assert "its user's alone" in doctor._describe_service_folder(folder)
    folder.chmod(0o755)
    assert "CAN BE READ BY OTHERS" in doctor._describe_service_folder(folder)
    make_private(folder)
    os.umask(before)
    assert private_folder.is_private(folder)
