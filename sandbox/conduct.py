"""
One run from START to the child's death, on one event loop.

Runs in: supervisor. Trusts: the kernel's clocks and exit statuses. Refuses: what `Session` refuses,
and a child that outlives its result. May import: stdlib.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from functools import partial

from sandbox import wire
from sandbox.calls import Call, EndRun, OnCall, OnOutput, StartRequest
from sandbox.delivery import Delivery
from sandbox.outcome import Outcome, Reason, Usage
from sandbox.parking import Parking
from sandbox.reply_room import ReplyRoom
from sandbox.session import Claim, Over, Printed, Session
from sandbox.surface import Surface
from sandbox.verdict import Kill, Seen, judge, limit_passed
from sandbox.zygote import Child, Exit

_CHUNK = 256 * 1024
#: For how long a child may live on. In steps: a machine that stood still has used up one of them.
_LINGER_S = 2.0
_LINGER_STEPS = 20
#: How soon it is looked again whether a child that still runs has come to wait.
_LOOK_S = 0.005
_LET_GO = Kill(Reason.CANCELLED, "let go while it waits")


class Conduct:
    """The supervisor's side of one run. Made with a leased child, which it closes."""

    def __init__(
        self,
        child: Child,
        request: StartRequest,
        on_call: OnCall,
        on_output: OnOutput | None,
        parking: Parking | None = None,
    ) -> None:
        self._child = child
        self._request = request
        self._on_call = on_call
        self._on_output = on_output
        self._parking = parking or Parking()
        self._parking.on_change = self._look_whether_idle
        self._looking: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._session = Session(request.limits)
        self._output: list[str] = []
        self._kill: Kill | None = None
        self._failure: BaseException | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._delivery = Delivery(self._send_reply)
        self._room = ReplyRoom(request.limits.reply_bytes)
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._cpu_before_ms = child.cpu_ms() or 0.0
        self._began = time.monotonic() - request.wall_used_ms / 1000
        self._answered: float | None = None
        self._timers: list[asyncio.TimerHandle] = []

    async def to_the_end(self) -> Outcome:
        """
        Speak with the child until it is dead, and judge.

        Raises:
            BaseException: what `on_call` raised, after the child was killed.
        """
        limits = self._request.limits
        self._loop.add_reader(self._child.socket.fileno(), self._readable)
        self._after((limits.wall_ms - self._request.wall_used_ms) / 1000, self._wall_is_over)
        self._after(limits.cpu_ms / 1000, self._look_at_cpu)
        try:
            await self._send(self._start_frame())
            await self._gone
            how = await self._child.exited
        finally:
            await self._let_go()
        if self._failure is not None:
            raise self._failure
        return self._outcome(how)

    def cancel(self) -> None:
        """End the run because somebody asked for it."""
        self._end(Kill(Reason.CANCELLED, "cancelled on request"))

    # --- what the child does ------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            data = self._child.socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hung_up()
            return
        if self._kill is not None:
            return  # what it still says does not count
        try:
            for event in self._session.receive(data):
                self._on_event(event)
        except wire.WireError as broken:
            self._end(Kill(Reason.PROTOCOL_VIOLATION, f"the child broke the protocol: {broken}"))

    def _on_event(self, event: Printed | Call | Over | Claim) -> None:
        if self._kill is not None:
            return
        match event:
            case Printed(text):
                self._output.append(text)
                if self._on_output is not None:
                    self._on_output(text)
            case Call():
                answer = self._loop.create_task(self._reply_to(event))
                self._answers.add(answer)
                answer.add_done_callback(self._answers.discard)
            case Over(reason, used, allowed):
                self._end(limit_passed(reason, used, allowed, layer="parent"))
            case Claim():
                self._answered = time.monotonic()
                self._stop_timers()
                self._wait_for_its_end("the child lived on after its last frame")

    async def _reply_to(self, call: Call) -> None:
        try:
            await self._answer(call)
        except asyncio.CancelledError:
            raise
        except BaseException as failure:  # noqa: BLE001 (raised again by to_the_end)
            if self._failure is None:
                self._failure = failure
            self._end(Kill(Reason.INTERNAL, "the call could not be answered"))

    async def _answer(self, call: Call) -> None:
        await self._room.enter()
        reply = await self._on_call(call)
        if isinstance(reply, EndRun):
            self._end(Kill(reply.reason, reply.message, reply.hint))
            return
        body, ok, allowed = reply.body, reply.ok, self._request.limits.reply_bytes
        if len(body) > allowed:
            ok = False
            body = (
                f'{{"message":"{call.name} answered {len(body)} bytes; at most {allowed} are'
                ' allowed in one reply. Ask for less.","code":"reply_too_large"}'
            ).encode()
        frame = wire.pack_reply(call.seq, body, ok=ok, clock_ms=reply.clock_ms)
        self._room.keep(len(frame))
        await self._delivery.deliver(call.seq, reply.order, frame)

    async def _send_reply(self, seq: int, frame: bytes) -> None:
        self._session.answered(seq)
        await self._send(frame)
        self._room.leave(len(frame))
        self._look_whether_idle()

    def _hung_up(self) -> None:
        self._loop.remove_reader(self._child.socket.fileno())
        if not self._gone.done():
            self._gone.set_result(None)
        if self._session.claim is None and self._kill is None:
            # Most likely it is dead and its exit status, on its way to us, says why.
            self._wait_for_its_end("the child closed its socket and lived on")

    # --- letting go ---------------------------------------------------------------------------

    def _look_whether_idle(self) -> None:
        """Let the child go once it can't go on without a reply that is far away."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._kill is not None or not self._parking.covers(self._session.awaited):
            return
        if self._child.is_blocked() and not self._has_said_more():
            self._end(_LET_GO)
        else:
            self._looking = self._loop.call_later(_LOOK_S, self._look_whether_idle)

    def _has_said_more(self) -> bool:
        try:
            self._child.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    # --- what the clocks say ------------------------------------------------------------------

    def _wall_is_over(self) -> None:
        if self._gone.done() and self._child.has_ended():
            return  # word of its end is on its way, and says why
        allowed = self._request.limits.wall_ms
        self._end(limit_passed(Reason.WALL_LIMIT, self._wall_ms(), allowed, layer="parent's clock"))

    def _look_at_cpu(self) -> None:
        # One thread cannot use processor time faster than time passes: so look again when, at the
        # earliest, it can be over.
        now_ms = self._child.cpu_ms()
        if now_ms is None:
            return
        allowed = self._request.limits.cpu_ms
        left_ms = allowed - (now_ms - self._cpu_before_ms)
        if left_ms > 0:
            self._after(max(left_ms, 5.0) / 1000, self._look_at_cpu)
            return
        used = round(allowed - left_ms)
        self._end(limit_passed(Reason.CPU_LIMIT, used, allowed, layer="parent's view of its clock"))

    def _wait_for_its_end(self, otherwise: str, steps: int = _LINGER_STEPS) -> None:
        if steps:
            then = partial(self._wait_for_its_end, otherwise, steps - 1)
            self._after(_LINGER_S / _LINGER_STEPS, then)
        elif not self._child.has_ended():
            self._end(Kill(Reason.PROTOCOL_VIOLATION, otherwise))

    # --- the end ------------------------------------------------------------------------------

    def _end(self, kill: Kill) -> None:
        if self._kill is None:
            self._kill = kill
        self._child.kill()

    async def _let_go(self) -> None:
        self._stop_timers()
        # What the child says from here on counts for nothing, and must not set a timer: its
        # descriptors may be another child's when that fires.
        self._loop.remove_reader(self._child.socket.fileno())
        self._parking.on_change = None
        if not self._child.exited.done():
            self._child.kill()
        answers = list(self._answers)
        for answer in answers:
            answer.cancel()
        try:
            await asyncio.gather(*answers, return_exceptions=True)
        finally:
            self._stop_timers()
            self._child.close()

    def _outcome(self, how: Exit) -> Outcome:
        used_ms = max(0.0, how.cpu_us / 1000 - self._cpu_before_ms) if how.status is not None else 0
        seen = Seen(how.status, round(used_ms), self._session.partial, self._session.calls)
        claim = self._session.claim
        reason, result, error = judge(self._request.limits, self._kill, seen, claim)
        limits = self._request.limits
        usage = Usage(
            instructions=min(claim.instructions, limits.instructions) if claim else 0,
            memory_bytes=min(claim.memory_bytes, limits.memory_bytes) if claim else 0,
            cpu_ms=seen.cpu_ms,
            wall_ms=self._wall_ms(),
            output_bytes=min(self._session.output_bytes, limits.output_bytes),
            calls=self._session.calls,
        )
        printed = "".join(self._output)
        answered_us = round(self._elapsed_s() * 1_000_000)
        suspended = self._kill is _LET_GO
        return Outcome(reason, usage, result, printed, error, answered_us, suspended)

    def _elapsed_s(self) -> float:
        return (self._answered or time.monotonic()) - self._began

    def _wall_ms(self) -> int:
        return round(self._elapsed_s() * 1000)

    # --- small parts --------------------------------------------------------------------------

    def _start_frame(self) -> bytes:
        asked = self._request
        header = {
            "name": asked.name,
            "listed": asked.listed,
            "limits": asked.limits.to_json(),
            "seed": asked.seed,
            "clock_ms": asked.clock_ms,
        }
        surface = Surface.of(asked.surface).text
        return wire.pack_start(header, asked.script, asked.input, surface)

    async def _send(self, frame: bytes) -> None:
        try:
            try:
                sent = self._child.socket.send(frame)
            except BlockingIOError:
                sent = 0
            if sent < len(frame):
                await self._loop.sock_sendall(self._child.socket, frame[sent:])
        except OSError:
            return  # it is dead or has hung up: its end tells why

    def _after(self, seconds: float, then: Callable[[], None]) -> None:
        self._timers.append(self._loop.call_later(seconds, then))

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._looking is not None:
            self._looking.cancel()
