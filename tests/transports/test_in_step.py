"""Whatever a wire does, an answer is one's own or there is a named error. A state machine on a virtual clock."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from hilonn.clock import VirtualClock
from hilonn.errors import ConnectionLost, DeviceError, DeviceTimeout
from hilonn.transports import Dialect, Transport

TIMEOUT = 1.0
FAULTS = ("", "", "drop", "late", "very late", "duplicate", "fragment", "garble", "noise", "reset")
IDENTITY = b"HILONN,LINE,1,0"


class Line:
    """A box and a wire to it. What it sends comes at times of ``clock``; a new connection brings nothing old, a line does."""

    address = "line"

    def __init__(self, clock: VirtualClock, reopens: bool) -> None:
        self.clock, self.reopens = clock, reopens
        self.coming: list[tuple[float, bytes]] = []
        self.fault = ""
        self.broken = False
        self.refusals = 0

    def open(self, timeout: float) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ConnectionLost("line: refused")
        self.broken = False
        if self.reopens:
            self.coming.clear()

    def close(self) -> None:
        return None

    def send(self, data: bytes, timeout: float) -> None:
        if self.broken:
            raise ConnectionLost("line: broken")
        answer = (IDENTITY if data == b"*IDN?\n" else data[:-2]) + b"\n"
        fault, self.fault = self.fault, ""
        at = self.clock.now() + 0.01
        # a line is a queue: nothing overtakes what is late
        at = max([at, *(t for t, _ in self.coming)])
        if fault == "reset":
            self.broken = True
        elif fault == "late":
            self.coming.append((at + 1.5 * TIMEOUT, answer))
        elif fault == "very late":
            self.coming.append((at + 7 * TIMEOUT, answer))
        elif fault == "duplicate":
            self.coming.append((at, answer + answer))
        elif fault == "fragment":
            self.coming += [(at + 1e-3 * k, answer[k : k + 1]) for k in range(len(answer))]
        elif fault == "garble":
            self.coming.append((at, b"\xf5\xa7" + answer[2:]))
        elif fault == "noise":
            self.coming.append((at, b"\xff" + answer))
        elif fault != "drop":
            self.coming.append((at, answer))

    def receive(self, timeout: float) -> bytes:
        if self.broken:
            raise ConnectionLost("line: broken")
        if not self.coming or self.coming[0][0] > self.clock.now() + timeout:
            self.clock.sleep(timeout)
            return b""
        at, data = self.coming.pop(0)
        self.clock.wait_until(at)
        return data


class InStep(RuleBasedStateMachine):
    """Asks numbered questions, with a fault or none at each."""

    @initialize(reopens=st.booleans(), resync=st.booleans())
    def connect(self, reopens: bool, resync: bool) -> None:
        self.clock = VirtualClock()
        self.wire = Line(self.clock, reopens)
        self.transport = Transport("box", self.wire, timeout=TIMEOUT, clock=self.clock)
        self.transport.speak(Dialect(resync=("*IDN?", "HILONN,LINE,.*") if resync else None))
        # an answer that is late by more than a timeout cannot be told on a line without a query to resynchronise by
        self.knows_very_late = reopens or resync
        self.transport.open()
        self.count = 0

    @rule(fault=st.sampled_from(FAULTS), pause=st.sampled_from((0.0, 0.0, 0.5, 3.0)))
    def ask(self, fault: str, pause: float) -> None:
        self.clock.sleep(pause)
        self.count += 1
        self.wire.fault = "late" if fault == "very late" and not self.knows_very_late else fault
        try:
            answer = self.transport.query(f"{self.count}?")
        except (ConnectionLost, DeviceTimeout):
            return
        except DeviceError:
            assert fault in ("garble", "noise")
            return
        assert answer == str(self.count)

    @rule()
    def two_good_questions_after_trouble(self) -> None:
        if self.transport.lost:
            self.wire.refusals = 2
            self.transport.reconnect(10.0)
        self.wire.fault = ""
        for _ in range(2):
            self.count += 1
            try:
                assert self.transport.query(f"{self.count}?", timeout=20.0) == str(self.count)
            except DeviceTimeout:
                continue  # resynchronising waits no longer than a timeout for what is very late
            except ConnectionLost:
                self.transport.reconnect(10.0)

    @rule(data=st.sampled_from((b"unasked\n", b"half a li", b"\xff")))
    def hear_noise(self, data: bytes) -> None:
        self.wire.coming.append((self.clock.now(), data))

    def teardown(self) -> None:
        if hasattr(self, "transport"):
            self.transport.close()


TestInStep = InStep.TestCase
TestInStep.settings = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
