"""A bad network."""

import random
import socket
import threading
import time


class Proxy:
    """A TCP proxy to a local port that delays what passes and cuts its connections when told to."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self.listener.accept()
                theirs = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self._open |= {ours, theirs}
            for a, b in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._pass, args=(a, b), daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 18):
                time.sleep(random.uniform(0, 0.02))
                target.sendall(data)
        except OSError:
            pass
        finally:
            source.close(), target.close()

    def cut(self) -> int:
        """Cuts all connections; how many."""
        gone, self._open = self._open, set()
        for one in gone:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        return len(gone) // 2

    def close(self) -> None:
        self.listener.close()
        self.cut()
