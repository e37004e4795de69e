"""Every connection to the service, by its file descriptor: whose it is and how many bytes it holds
in memory. Who holds too much is cut off, and nobody else.

ZeroMQ itself limits neither connections nor what waits in them, so they are followed from outside:
its monitors tell who comes and goes, a message tells whose its connection is, and the system how
many bytes came (on Linux; elsewhere only what was answered is counted).
"""

import logging
import socket
import struct
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import zmq
import zmq.utils.monitor as monitoring

from backend.logs import RareLog

# connections that have not said a word with an allowed key yet: 64 in all, the oldest goes first
UNPROVEN = {"work": 16, "control": 24, "progress": 14, "heartbeat": 10}
_UNPROVEN_BYTES = 8 << 10  # of one of them: a handshake is less than one thousand
# bytes that a client has got of the service once its key was found good: the greeting (64),
# WELCOME (170) and at least READY (53); of a refusal it gets 12 instead of READY
_WELCOMED = 64 + 170 + 40
_ANSWERS = 64 << 20  # bytes of answers that one connection may leave unread
# connections whose key was found good: of one user, and in all before their first message
_OF_USER, _SILENT = 512, 256
_TOPICS = 4096  # that one user may follow; ZeroMQ keeps one or two KB for each
_UNREAD_TOPICS = 1 << 20  # bytes of subscriptions that wait to be read: some ten thousand
TOPICS_BUFFER = 32 << 10  # bytes of them in the system: what is there is read even after a cut-off
# between two looks at all connections; at those that are unproven
_ROUND_S, _QUICK_ROUND_S = 0.25, 0.04
_PER_FRAME, _PER_SECOND = 48, 200  # bytes of encryption, headers and heartbeats
_EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_MONITOR_STOPPED
)
_log = logging.getLogger("restage4d.service")


@dataclass
class Peer:
    """One connection.

    Attributes:
        fd: its file descriptor in this process.
        channel: the socket that it came to.
        address: of its other end, as the system has it.
        since: `time.monotonic` when it was first seen.
        user: whose it is; "" before its first message.
        proven: whether its key was found good.
        taken: bytes of it that were read as messages.
        answers: what it has not read yet: whether that has gone, and its bytes.
        promised: bytes of answers that are being made.
        topics: that it subscribed to, whether it may follow them or not.
    """

    fd: int
    channel: str
    address: Any
    since: float
    user: str = ""
    proven: bool = False
    taken: int = 0
    answers: deque[tuple[Callable[[], bool], int]] = field(default_factory=deque)
    promised: int = 0
    topics: int = 0

    def count_answers(self) -> int:
        """Bytes of answers that are made or wait to be read."""
        while self.answers and self.answers[0][0]():
            self.answers.popleft()
        return self.promised + sum(size for _, size in self.answers)


class Connections:
    """All connections of a service; a thread of its own looks at them.

    Args:
        memory: bytes that all clients together may hold; one user may hold a quarter of it.
    """

    def __init__(self, memory: float) -> None:
        self.memory = memory
        self.dropped = 0
        self._peers: dict[int, Peer] = {}
        self._lock = threading.Lock()
        self._monitors: dict[zmq.Socket, str] = {}
        self._new: deque[tuple[zmq.Socket, str]] = deque()
        self._refusals = RareLog(_log)
        self._drops = RareLog(_log)

    # --- told by the sockets' threads -------------------------------------------------------------

    def watch(self, listening: zmq.Socket, channel: str) -> None:
        """Follows who comes to a socket, from any thread."""
        self._new.append((listening.get_monitor_socket(_EVENTS), channel))

    def note_message(
        self, frame: zmq.Frame, frames: int, size: int, channel: str, user: str
    ) -> int:
        """Notes a message that was read: its connection is ``user``'s. Returns its descriptor."""
        fd = int(frame.get(zmq.SRCFD))
        with self._lock:
            peer = self._peers.get(fd)
            if peer is None or peer.channel != channel or peer.user not in ("", user):
                peer = self._peers[fd] = _find_peer(fd, channel)
                peer.taken = max(_count_bytes(fd)[0] - size - frames * _PER_FRAME, 0)
            peer.user, peer.proven = user, True
            peer.taken += size + frames * _PER_FRAME
        return fd

    def promise(self, fd: int, size: int) -> bool:
        """Whether a connection may ask for an answer of ``size`` bytes; then they are counted until
        `settle`. One answer is always made, however large it is."""
        with self._lock:
            peer = self._peers.get(fd)
            if peer is None:
                return True
            held = peer.count_answers()
            if held and held + size > _ANSWERS:
                return False
            peer.promised += size
            return True

    def hold(self, fd: int, size: int) -> None:
        """Bytes of a request are kept until `settle`."""
        with self._lock:
            if peer := self._peers.get(fd):
                peer.promised += size

    def note_topic(self, fd: int, more: int) -> bool:
        """A connection subscribed to one topic more, or one less (-1). False where it is cut off:
        so many wait to be read (ZeroMQ keeps these already), or its user has too many and most of
        them are its own. Where another of the user's connections has more, that one is cut off."""
        with self._lock:
            peer = self._peers.get(fd)
            if peer is None:
                return False
            peer.topics = max(peer.topics + more, 0)
            if _count_bytes(fd)[0] - peer.taken > _UNREAD_TOPICS:
                self._drop_for_topics(peer)
                return False
            theirs = [p for p in self._peers.values() if p.user == peer.user]
            if sum(p.topics for p in theirs) <= _TOPICS:
                return True
            most = max(theirs, key=lambda p: p.topics)
            self._drop_for_topics(most)
            return most is not peer

    def settle(self, fd: int, promised: int, size: int, gone: Callable[[], bool]) -> None:
        """An answer that was promised was sent; it is held until ``gone()``."""
        with self._lock:
            if peer := self._peers.get(fd):
                peer.promised = max(peer.promised - promised, 0)
                if size:
                    peer.answers.append((gone, size))

    # --- asked by anybody -------------------------------------------------------------------------

    def count(self) -> dict[tuple[str, bool], int]:
        """Connections by channel, and whether they have proven whose they are."""
        with self._lock:
            return dict(Counter((p.channel, p.proven) for p in self._peers.values()))

    def count_held(self) -> dict[str, int]:
        """Bytes that each user's connections hold in memory, asked and answered."""
        held: dict[str, int] = defaultdict(int)
        with self._lock:
            for peer in self._peers.values():
                held[peer.user] += _count_held(peer)
        return dict(held)

    def drop(self, fd: int) -> None:
        """Cuts off one connection."""
        with self._lock:
            if peer := self._peers.get(fd):
                self._drop(peer)

    def drop_users(self, may_stay: Callable[[str], bool]) -> None:
        """Cuts off whoever may not stay, and all who have not said yet who they are."""
        with self._lock:
            for peer in list(self._peers.values()):
                if not peer.user or not may_stay(peer.user):
                    self._drop(peer)

    # --- the thread -------------------------------------------------------------------------------

    def run(self, stopping: threading.Event) -> None:
        """Looks after all connections until ``stopping``."""
        looked, looked_at_unproven = 0.0, 0.0
        while not stopping.is_set():
            unproven = self._follow_monitors()
            now = time.monotonic()
            if unproven and now - looked_at_unproven >= _QUICK_ROUND_S:
                looked_at_unproven = now
                self._judge_unproven()
            if now - looked >= _ROUND_S:
                looked = now
                self._cut_off()

    def _follow_monitors(self) -> bool:
        """Takes in who came and went; whether anybody is unproven."""
        while self._new:
            monitor, channel = self._new.popleft()
            self._monitors[monitor] = channel
        unproven = any(not p.proven for p in list(self._peers.values()))
        poller = zmq.Poller()
        for monitor in self._monitors:
            poller.register(monitor, zmq.POLLIN)
        try:
            ready = poller.poll(int(1000 * (_QUICK_ROUND_S if unproven else _ROUND_S)))
        except zmq.ZMQError:  # a socket is being closed
            ready = [(monitor, zmq.POLLIN) for monitor in self._monitors]
        for monitor, _ in ready:
            try:
                for _ in range(500):
                    if not monitor.poll(0):
                        break
                    self._take_in(monitoring.recv_monitor_message(monitor), self._monitors[monitor])
            except zmq.ZMQError:  # its socket was closed
                del self._monitors[monitor]
                monitor.close(linger=0)
        return unproven

    def _take_in(self, event: Any, channel: str) -> None:
        fd = event["value"]
        if event["event"] == zmq.EVENT_MONITOR_STOPPED:
            raise zmq.ZMQError
        if event["event"] == zmq.EVENT_DISCONNECTED:
            with self._lock:  # its number may be another connection's already
                if (known := self._peers.get(fd)) and known.channel == channel:
                    del self._peers[fd]
        elif event["event"] == zmq.EVENT_ACCEPTED:
            with self._lock:
                peer, known = _find_peer(fd, channel), self._peers.get(fd)
                if known is None or (known.channel, known.address) != (channel, peer.address):
                    self._peers[fd] = peer
                self._drop_unproven(channel)
        else:
            self._refusals.warn(
                "refused a client at %s: no key, another kind of key, or no ZeroMQ",
                event["endpoint"].decode(),
            )

    def _drop_unproven(self, channel: str) -> None:
        waiting = [p for p in self._peers.values() if not p.proven and p.channel == channel]
        if len(waiting) <= UNPROVEN[channel]:
            return
        for peer in waiting:
            peer.proven = _count_bytes(peer.fd)[1] > _WELCOMED
        waiting = [p for p in waiting if not p.proven]
        for peer in waiting[: max(len(waiting) - UNPROVEN[channel], 0)]:
            self._drop(peer)
            self._peers.pop(peer.fd, None)

    def _judge_unproven(self) -> None:
        """Whose key was found good meanwhile, and who sends much without one."""
        with self._lock:
            for peer in [p for p in self._peers.values() if not p.proven]:
                received, sent = _count_bytes(peer.fd)
                peer.proven = sent > _WELCOMED
                if not peer.proven and received > _UNPROVEN_BYTES:
                    self._drop(peer)

    def _cut_off(self) -> None:
        """Ends the connections that hold too much."""
        self._refusals.flush()
        self._drops.flush()
        with self._lock:
            held = {peer.fd: _count_held(peer) for peer in self._peers.values() if peer.proven}
            for peer in list(self._peers.values()):
                # ZeroMQ may take in a whole flood before a single one of them is read
                if peer.channel == "progress" and held.get(peer.fd, 0) > _UNREAD_TOPICS:
                    self._drop_for_topics(peer)
                    del self._peers[peer.fd], held[peer.fd]
            by_user: dict[str, list[Peer]] = defaultdict(list)
            for peer in self._peers.values():
                if peer.proven:  # one that has not said a whole word yet counts for itself
                    by_user[peer.user or f"connection {peer.fd}"].append(peer)
            for peers in by_user.values():
                self._shrink(peers, held, self.memory / 4)
            self._shrink([p for p in self._peers.values() if p.proven], held, self.memory)
            self._end_oldest()

    def _end_oldest(self) -> None:
        """Ends the oldest connections of who has too many."""
        theirs: dict[str, list[Peer]] = defaultdict(list)
        for peer in self._peers.values():
            if peer.proven:
                theirs[peer.user].append(peer)
        for user, peers in theirs.items():
            most = _OF_USER if user else _SILENT
            peers.sort(key=lambda peer: peer.since)
            for peer in peers[: max(len(peers) - most, 0)]:
                self._drops.warn("%s: more than %d connections; cut off", user or "nobody", most)
                self._drop(peer)
                self._peers.pop(peer.fd, None)

    def _shrink(self, peers: list[Peer], held: dict[int, int], most: float) -> None:
        """Ends the largest of ``peers`` until they hold at most ``most`` bytes."""
        total = sum(held[p.fd] for p in peers)
        for peer in sorted(peers, key=lambda p: -held[p.fd]):
            if total <= most:
                return
            total -= held[peer.fd]
            self._drops.warn(
                "%s: one connection holds %.0f MB that it does not end or read; cut off",
                peer.user or "somebody",
                held[peer.fd] / 1e6,
            )
            self._drop(peer)
            self._peers.pop(peer.fd, None)

    def _drop_for_topics(self, peer: Peer) -> None:
        user = peer.user or "somebody"
        self._drops.warn("%s: more than %d subscriptions; cut off", user, _TOPICS)
        self._drop(peer)

    def _drop(self, peer: Peer) -> None:
        """Ends a connection, if its descriptor is still that connection's."""
        with suppress(OSError), socket.fromfd(peer.fd, socket.AF_INET, socket.SOCK_STREAM) as one:
            if one.getpeername() == peer.address:
                one.shutdown(socket.SHUT_RDWR)
                self.dropped += 1


def _find_peer(fd: int, channel: str) -> Peer:
    address = None
    with suppress(OSError), socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM) as one:
        address = one.getpeername()
    return Peer(fd, channel, address, time.monotonic())


def _count_bytes(fd: int) -> tuple[int, int]:
    """Bytes that came over a connection since it was made, and those that its other end has got;
    zeros where the system does not say."""
    if sys.platform != "linux":
        return 0, 0
    with suppress(OSError, struct.error):
        with socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM) as one:
            # struct tcp_info of linux/tcp.h: tcpi_bytes_acked, tcpi_bytes_received
            info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
        acked, received = struct.unpack_from("<QQ", info, 120)
        return received, acked
    return 0, 0


def _count_held(peer: Peer) -> int:
    allowance = _PER_SECOND * (time.monotonic() - peer.since)
    waiting = max(_count_bytes(peer.fd)[0] - peer.taken - allowance, 0)
    return int(waiting) + peer.count_answers()
