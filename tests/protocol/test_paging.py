"""A list of jobs is never longer than a header may be."""

import sqlite3

from protocol.test_jobs import tiny_job
from restage4d.protocol.messages import List


def test_two_thousand_jobs_come_in_pages(own, tmp_path):
    own.start()
    with own.client() as client:
        first = client.submit(tiny_job(client.upload, steps=1))
        client.cancel(first)
    own.kill()
    db = sqlite3.connect(own.home / "jobs.sqlite")
    (columns,) = [[c[1] for c in db.execute("PRAGMA table_info(jobs)")]]
    (row,) = db.execute(f"SELECT {', '.join(columns)} FROM jobs").fetchall()
    with db:
        marks = ", ".join("?" * len(columns))
        for i in range(2000):
            values = dict(zip(columns, row, strict=True)) | {"id": f"{i:032x}"}
            if "key" in values:
                values["key"] = values["id"]
            db.execute(f"INSERT INTO jobs VALUES ({marks})", [values[c] for c in columns])
    db.close()
    own.start()
    with own.client() as client:
        jobs = client.jobs()
        assert [job.id for job in jobs] == [f"{i:032x}" for i in reversed(range(2000))] + [first]
        page = client._ask(client._control, List()).body
        assert page.more
        assert 1 <= len(page.jobs) <= 200
        last = client._ask(client._control, List(before=f"{0:032x}")).body
        assert [job.id for job in last.jobs] == [first]
        assert not last.more
