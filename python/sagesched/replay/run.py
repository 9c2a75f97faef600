"""The state of one run, and what SGLang's scheduler calls instead of the outside world."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.plugin.wire import as_message
from sagesched.replay.clock import REAL_PERF_COUNTER, START_S, VirtualClock, VirtualEvent
from sagesched.replay.control import Control
from sagesched.replay.engine import EOS_TOKEN, EngineConfig, Seams
from sagesched.replay.policies.base import Known, Policy, Situation
from sagesched.replay.predictors import Predictions
from sagesched.replay.recorder import Live, Recorder
from sagesched.replay.result import RunResult
from sagesched.replay.script import first_token, next_tokens
from sagesched.replay.sglang_request import tokenized
from sagesched.replay.steptime import Step, StepTime, as_scheduled
from sagesched.replay.trace import TraceRequest
from sagesched.replay.work import PrefillBooks, decode_work

MOST_IDLE_TURNS = 1_000


class Engine(Protocol):
    """What a run needs of the harness."""

    config: EngineConfig
    grid: LengthGrid
    scheduler: Any
    seams: Seams


class Run:
    """The state of one run; its methods are what the scheduler calls."""

    def __init__(
        self,
        engine: Engine,
        policy: type[Policy],
        settings: dict[str, float],
        step_time: StepTime,
        predictions: Predictions | None,
        max_output_tokens: int,
        short_cut: bool = True,
        recorder: Recorder | None = None,
    ) -> None:
        from sglang.srt.managers.utils import GenerationBatchResult

        self.make_result = GenerationBatchResult
        self.scheduler = engine.scheduler
        self.seams = engine.seams
        self.grid = engine.grid
        self.overlap = engine.config.overlap
        self.policy = policy
        self.settings = settings
        self.step_time = as_scheduled(step_time, self.overlap)
        self.predictions = predictions
        self.max_output_tokens = max_output_tokens
        self.short_cut = short_cut
        self.clock = VirtualClock()
        self.recorder = recorder or Recorder()
        self.live: dict[str, Live] = {}
        slots, pool = engine.config.max_running, engine.config.pool_tokens
        full_step = Step(decode_requests=slots, decode_kv_tokens=pool // 2)
        self.situation = Situation(slots, pool, self.step_time.seconds(full_step))
        self.prefill = PrefillBooks(self.live, self.recorder, policy.swap_is_free)
        self.control = Control(self.scheduler, policy(self.situation, settings), self.live)
        self.delay = float(getattr(step_time, "request_overhead_s", 0.0))
        self.predicted_after = self.predictions.seconds if self.predictions else 0.0
        if not self.follows():
            self.delay, self.predicted_after = self.delay + self.predicted_after, 0.0
        self.following: deque[tuple[float, Any]] = deque()  # predictions, and when they are made
        self.device_free = 0.0
        self.decode_seconds = 0.0
        self.decode_steps = 0
        self.idle_turns = 0
        self.coming: TraceRequest | None = None
        self.trace: Iterator[TraceRequest] = iter(())

    def go(self, trace: Iterator[TraceRequest]) -> RunResult:
        self.reset()
        self.trace = trace
        self.coming = next(trace)
        started = REAL_PERF_COUNTER()
        with self.clock.installed():
            self.control.install()
            self.loop()
        return self._result(REAL_PERF_COUNTER() - started)

    def loop(self) -> None:
        """SGLang's event loop, until `recv_requests` ends it."""
        if self.overlap:
            self.scheduler.event_loop_overlap()
        else:
            self.scheduler.event_loop_normal()

    def _result(self, wall_s: float) -> RunResult:
        fallbacks = self.control.failures + self.plugin_failures()
        notes = []
        if self.control.first_failure:
            notes.append(f"{self.policy.name} raised {self.control.first_failure}")
        return self.recorder.result(fallbacks=fallbacks, wall_s=wall_s, notes=tuple(notes))

    def plugin_failures(self) -> int:
        from sagesched.plugin.state import state_of

        state = state_of(self.scheduler.policy)
        return 0 if state is None else int(state.failures)

    def reset(self) -> None:
        """An idle scheduler as after its start; its radix cache empty."""
        from sglang.srt.managers.schedule_batch import ScheduleBatch

        scheduler = self.scheduler
        scheduler.last_batch = None
        scheduler.chunked_req = None
        scheduler.waiting_queue.clear()
        if getattr(scheduler, "result_queue", None):
            scheduler.result_queue.clear()
        scheduler.running_batch = ScheduleBatch(reqs=[], batch_is_full=False)
        if not scheduler.flush_cache():
            raise RuntimeError("replay: the scheduler of an earlier run is not idle")
        scheduler.forward_ct = 0
        scheduler.processed_tokens_counter = 0
        scheduler.new_token_ratio_tracker.reset()
        scheduler._prev_step = None
        scheduler._prev_prefill_end_ts = None
        scheduler.gracefully_exit = False
        scheduler.request_receiver = self
        scheduler.tp_worker.forward_batch_generation = self.forward
        self.seams.emit = self.emit
        self.seams.before_admission = self.control.before_admission
        self.seams.entered = self.entered
        self.seams.decoded = self.decoded

    # What the scheduler calls: requests come in, a batch is computed, tokens go out.

    def recv_requests(self, *args: Any, **kwargs: Any) -> list[Any]:
        """The requests that are due; an idle scheduler sleeps until the next one."""
        if self.coming is None and self.recorder.ended == len(self.recorder.arrival):
            self.scheduler.gracefully_exit = True
            return []
        self.idle_turns += 1
        if self.coming is not None and self.idle():
            self.clock.now = max(self.clock.now, self.due(self.coming))
        elif self.idle_turns > MOST_IDLE_TURNS:
            raise RuntimeError(
                f"replay: SGLang's scheduler does not go on, with {len(self.live)} requests "
                "unfinished; does the KV pool hold the longest of them?"
            )
        due = []
        while self.coming is not None and self.due(self.coming) <= self.clock.now:
            due.append(self._arrive(self.coming))
            self.coming = next(self.trace, None)
        while self.following and self.following[0][0] <= self.clock.now:
            due.append(self.following.popleft()[1])
        return due

    def entered(self, request: Any) -> None:
        """A request is in the waiting queue; SGLang has cut what it may produce to the context."""
        self.live[request.rid].cut(request.sampling_params.max_new_tokens)
        self.control.entered(request)

    def forward(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute a batch: its scripted tokens, and the time it takes."""
        import torch

        extends = batch.forward_mode.is_extend()
        step = self.prefill.work(batch) if extends else decode_work(batch)
        seconds = self.step_time.seconds(step)
        self._advance(step, seconds)
        if extends:
            lengths = [int(request.kv.kv_allocated_len) for request in batch.reqs]
        else:
            lengths = batch.seq_lens_cpu.tolist()
        tokens = next_tokens(self.live, batch.reqs, lengths)
        result = self.make_result(
            logits_output=None,
            next_token_ids=torch.tensor(tokens, dtype=torch.int64),
            can_run_cuda_graph=False,
        )
        result.virtual_event = VirtualEvent(self.clock, self.device_free)
        result.tokens = tokens
        return result

    def decoded(self, batch: Any, result: Any) -> list[int]:
        """The results of a decode step: one more token for each request that does not end in it.

        SGLang's loop over results serves every feature of every model; for such a request it comes
        to the same and is a third of a replay's time. A test compares the two.

        Returns:
            the rows that are left to SGLang's loop.
        """
        if not self.short_cut:
            return list(range(len(batch.reqs)))
        if result.copy_done is not None:
            result.copy_done.synchronize()
        now = self.clock.now - START_S
        live, token_out = self.live, self.recorder.token
        rest = []
        for row, (request, token) in enumerate(zip(batch.reqs, result.tokens, strict=True)):
            ends = token == EOS_TOKEN or request.to_finish or request.finished_reason
            if ends or request.is_retracted:
                rest.append(row)
            else:
                request.output_ids.append(token)
                token_out(live[request.rid], now)
        return rest

    def emit(self, requests: list[Any]) -> None:
        """The scheduler streams what its requests have produced."""
        now = self.clock.now - START_S
        for request in requests:
            live = self.live.get(request.rid)
            if live is None:
                continue
            if request.finished():
                self._leave(request, live, now)
            elif len(request.output_ids) > live.produced:  # else: a chunk of it was computed again
                self.recorder.token(live, now)

    # Their parts.

    def idle(self) -> bool:
        scheduler = self.scheduler
        return (
            not self.live
            or self.idle_turns > 5  # nothing that could run: only an arrival changes that
            or (
                scheduler.last_batch is None
                and scheduler.running_batch.is_empty()
                and not scheduler.waiting_queue
                and scheduler.chunked_req is None
                and not getattr(scheduler, "result_queue", None)
            )
        )

    def due(self, request: TraceRequest) -> float:
        return START_S + request.arrival_s + self.delay

    def follows(self) -> bool:
        """Whether a prediction is sent after its request, as our plug-in does."""
        return self.policy.flag == "gittins" and self.predictions is not None

    def _arrive(self, request: TraceRequest) -> Any:
        number = self.recorder.arrived(request)
        return self.take(number, request, self.predict(number, request))

    def predict(self, number: int, request: TraceRequest) -> LengthDistribution | None:
        """Its output length, as far as it can be that long; None where nothing is predicted."""
        if self.predictions is None:
            return None
        room = max(1, self.grid.max_tokens - len(request.prompt))
        predicted = self.predictions.predict(number, request)
        return predicted.capped(min(room, self.max_output_tokens))

    def take(self, number: int, request: TraceRequest, predicted: LengthDistribution | None) -> Any:
        """A request that has arrived, as SGLang's tokenizer process would send it."""
        rid = f"r{number:09d}"
        length = min(request.output_tokens, self.max_output_tokens)
        self.live[rid] = Live(number, length, first_token(number), len(request.prompt))
        if self.policy.uses != "distribution":
            predicted = None
        truth = length if self.policy.uses == "truth" else 0
        known = Known(number, self.clock.now - START_S, predicted, truth, request.cluster)
        self.situation.enter(rid, known)
        carried = predicted if self.policy.flag == "gittins" else None
        sent_s = None if carried is None else request.arrival_s
        follows = carried is not None and self.predicted_after > 0
        if follows:
            made_at = self.due(request) + self.predicted_after
            self.following.append((made_at, as_message(rid, request.arrival_s, carried)))
            carried = None
        return tokenized(
            rid, request.prompt, self.max_output_tokens, carried, sent_s, follows=follows
        )

    def _advance(self, step: Step, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError(f"{self.step_time.name}: a step of {seconds} s for {step}")
        if self.overlap:  # the host goes on while the device computes
            self.device_free = max(self.clock.now, self.device_free) + seconds
        else:
            self.clock.now += seconds
        self.idle_turns = 0
        situation = self.situation
        situation.now_s = self.clock.now - START_S
        situation.step += 1
        situation.processed_tokens += step.decode_requests + step.prefill_tokens
        if step.decode_requests and not step.prefill_tokens:
            self.decode_seconds += seconds
            self.decode_steps += 1
            situation.token_s = self.decode_seconds / self.decode_steps
        self.sample()

    def sample(self) -> None:
        """A point of the time line."""
        waiting = len(self.scheduler.waiting_queue)
        now_s = self.situation.now_s
        self.recorder.step(now_s, waiting, len(self.live) - waiting, self.kv_use)

    def kv_use(self) -> float:
        scheduler = self.scheduler
        free = scheduler.token_to_kv_pool_allocator.available_size()
        evictable = scheduler.tree_cache.evictable_size()
        return float(1.0 - (free + evictable) / scheduler.max_total_num_tokens)

    def _leave(self, request: Any, live: Live, now: float) -> None:
        del self.live[request.rid]
        known = self.situation.known(request)
        self.situation.leave(request.rid)
        predictions = self.predictions
        if type(request.finished_reason).__name__ == "FINISH_ABORT":
            self.recorder.refuse()
            if predictions is not None:
                predictions.refused(live.number)
            return
        self.recorder.token(live, now)
        parks = getattr(getattr(request, "_sagesched_place", None), "parks", 0)  # by our own policy
        self.recorder.end(live, request, now, known.preemptions + parks)
        if predictions is not None:
            produced = len(request.output_ids)
            by_itself = produced < request.sampling_params.max_new_tokens
            predictions.finished(live.number, produced, by_itself)
