"""One policy on one trace: SGLang's event loop under the virtual clock."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sagesched.lengths import LengthGrid
from sagesched.replay.clock import REAL_PERF_COUNTER, START_S, VirtualClock, VirtualEvent
from sagesched.replay.control import Control, environment
from sagesched.replay.engine import EOS_TOKEN, EngineConfig, build_scheduler
from sagesched.replay.policies.base import Known, Policy, Situation
from sagesched.replay.policies.registry import policy_class
from sagesched.replay.predictors import Predictions
from sagesched.replay.recorder import Live, Recorder
from sagesched.replay.result import RunResult
from sagesched.replay.steptime import Step, StepTime
from sagesched.replay.trace import LAST_PROMPT_TOKEN, VOCABULARY, TraceRequest, checked

OUTPUT_TOKENS = 64
"""Token ids a request's output goes through in turn, in a range of its own as far as they reach:
two outputs must not look alike in the radix cache."""

OUTPUT_RANGES = (VOCABULARY - LAST_PROMPT_TOKEN) // OUTPUT_TOKENS
MOST_IDLE_TURNS = 1_000


class Harness:
    """A scheduler for any number of runs, one after the other; one harness per process.

    Raises:
        RuntimeError: SGLang cannot be imported.
    """

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.config = config or EngineConfig()
        self.grid = LengthGrid(self.config.context)
        self.scheduler, self.seams = build_scheduler(self.config)
        gc.collect()
        gc.freeze()  # for good: the collector need not walk through SGLang again in every run

    def run(
        self,
        requests: Iterable[TraceRequest],
        *,
        policy: str,
        step_time: StepTime,
        predictions: Predictions | None = None,
        settings: Mapping[str, float] | None = None,
        max_output_tokens: int = 2048,
    ) -> RunResult:
        """Replay a trace.

        Args:
            requests: in order of arrival; read as the virtual clock gets there.
            policy: a name in ``policies.registry.POLICIES``.
            step_time: how long a step takes.
            predictions: what is known of output lengths; needed by policies that use it.
            settings: of the policy.
            max_output_tokens: ``max_new_tokens`` of every request.

        Raises:
            ValueError: an unknown policy or setting, no predictions where they are needed.
            TraceError: a request that cannot be replayed.
            RuntimeError: SGLang's scheduler does not go on, or its own checks at the end fail.
        """
        made = policy_class(policy)
        made.check_settings(settings or {})
        if made.uses == "distribution" and predictions is None:
            raise ValueError(f"policy {policy} needs predictions, none were given")
        run = _Run(self, made, dict(settings or {}), step_time, predictions, max_output_tokens)
        with environment(made, settings or {}):
            return run.go(checked(requests, "trace"))


class _Run:
    """The state of one run; its methods are what the scheduler calls."""

    def __init__(
        self,
        harness: Harness,
        policy: type[Policy],
        settings: dict[str, float],
        step_time: StepTime,
        predictions: Predictions | None,
        max_output_tokens: int,
    ) -> None:
        from sglang.srt.managers.utils import GenerationBatchResult

        self.make_result = GenerationBatchResult
        self.scheduler = harness.scheduler
        self.seams = harness.seams
        self.grid = harness.grid
        self.overlap = harness.config.overlap
        self.policy = policy
        self.settings = settings
        self.step_time = step_time
        self.predictions = predictions if policy.uses == "distribution" else None
        self.max_output_tokens = max_output_tokens
        self.clock = VirtualClock()
        self.recorder = Recorder()
        self.live: dict[str, Live] = {}
        slots, pool = harness.config.max_running, harness.config.pool_tokens
        full_step = Step(decode_requests=slots, decode_kv_tokens=pool // 2)
        self.situation = Situation(slots, pool, step_time.seconds(full_step))
        self.control = Control(self.scheduler, policy(self.situation, settings), self.live)
        overhead = float(getattr(step_time, "request_overhead_s", 0.0))
        self.delay = overhead + (self.predictions.seconds if self.predictions else 0.0)
        self.device_free = 0.0
        self.decode_seconds = 0.0
        self.decode_steps = 0
        self.idle_turns = 0
        self.coming: TraceRequest | None = None
        self.trace: Iterator[TraceRequest] = iter(())

    def go(self, trace: Iterator[TraceRequest]) -> RunResult:
        self._reset()
        self.trace = trace
        self.coming = next(trace)
        started = REAL_PERF_COUNTER()
        with self.clock.installed():
            self.control.install()
            if self.overlap:
                self.scheduler.event_loop_overlap()
            else:
                self.scheduler.event_loop_normal()
        return self._result(REAL_PERF_COUNTER() - started)

    def _result(self, wall_s: float) -> RunResult:
        fallbacks = self.control.failures + self._plugin_failures()
        notes = []
        if self.control.first_failure:
            notes.append(f"{self.policy.name} raised {self.control.first_failure}")
        return self.recorder.result(fallbacks=fallbacks, wall_s=wall_s, notes=tuple(notes))

    def _plugin_failures(self) -> int:
        from sagesched.plugin.state import state_of

        state = state_of(self.scheduler.policy)
        return 0 if state is None else int(state.failures)

    def _reset(self) -> None:
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
        self.seams.entered = self.control.entered

    # What the scheduler calls: requests come in, a batch is computed, tokens go out.

    def recv_requests(self, *args: Any, **kwargs: Any) -> list[Any]:
        """The requests that are due; an idle scheduler sleeps until the next one."""
        if self.coming is None and self.recorder.ended == len(self.recorder.arrival):
            self.scheduler.gracefully_exit = True
            return []
        self.idle_turns += 1
        if self.coming is not None and self._idle():
            self.clock.now = max(self.clock.now, self._due(self.coming))
        elif self.idle_turns > MOST_IDLE_TURNS:
            raise RuntimeError(
                f"replay: SGLang's scheduler does not go on, with {len(self.live)} requests "
                "unfinished; does the KV pool hold the longest of them?"
            )
        due = []
        while self.coming is not None and self._due(self.coming) <= self.clock.now:
            due.append(self._arrive(self.coming))
            self.coming = next(self.trace, None)
        return due

    def forward(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute a batch: its scripted tokens, and the time it takes."""
        import torch

        extends = batch.forward_mode.is_extend()
        step = self._prefill_work(batch) if extends else _decode_work(batch)
        seconds = self.step_time.seconds(step)
        self._advance(step, seconds)
        tokens = [self._next_token(request) for request in batch.reqs]
        result = self.make_result(
            logits_output=None,
            next_token_ids=torch.tensor(tokens, dtype=torch.int64),
            can_run_cuda_graph=False,
        )
        result.virtual_event = VirtualEvent(self.clock, self.device_free)
        return result

    def emit(self, requests: list[Any]) -> None:
        """The scheduler streams what its requests have produced."""
        now = self.clock.now - START_S
        for request in requests:
            live = self.live.get(request.rid)
            if live is None:
                continue
            if request.finished():
                self._leave(request, live, now)
            elif request.output_ids:
                self.recorder.token(live, now)

    # Their parts.

    def _idle(self) -> bool:
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

    def _due(self, request: TraceRequest) -> float:
        return START_S + request.arrival_s + self.delay

    def _arrive(self, request: TraceRequest) -> Any:
        number = self.recorder.arrived(
            request.arrival_s, len(request.prompt), request.output_tokens, request.cluster
        )
        rid = f"r{number:09d}"
        length = min(request.output_tokens, self.max_output_tokens)
        first = LAST_PROMPT_TOKEN + OUTPUT_TOKENS * (number % OUTPUT_RANGES)
        self.live[rid] = Live(number, length, first)
        predicted = None
        if self.predictions is not None:
            room = max(1, self.grid.max_tokens - len(request.prompt))
            predicted = self.predictions.predict(number, request)
            predicted = predicted.capped(min(room, self.max_output_tokens))
        truth = length if self.policy.uses == "truth" else 0
        known = Known(number, self.clock.now - START_S, predicted, truth, request.cluster)
        self.situation.enter(rid, known)
        return self._as_sglang(rid, request, predicted)

    def _as_sglang(self, rid: str, request: TraceRequest, predicted: Any) -> Any:
        from sglang.srt.managers.io_struct import TokenizedGenerateReqInput
        from sglang.srt.sampling.sampling_params import SamplingParams

        from sagesched.plugin.wire import attach

        params = SamplingParams(max_new_tokens=self.max_output_tokens, temperature=0.0)
        params.normalize(None)
        if self.policy.flag == "gittins":
            attach(params, predicted)  # as the plug-in's tokenizer hook does
        return TokenizedGenerateReqInput(
            rid=rid,
            input_text="",
            input_ids=array("q", request.prompt),
            input_embeds=None,
            mm_inputs=None,
            token_type_ids=None,
            sampling_params=params,
            return_logprob=False,
            logprob_start_len=-1,
            top_logprobs_num=0,
            token_ids_logprob=None,
            stream=True,
            time_stats=None,
        )

    def _next_token(self, request: Any) -> int:
        """By its position, which the KV length tells: right under overlap and retraction, too."""
        live = self.live.get(request.rid)
        if live is None:
            return EOS_TOKEN
        position = int(request.kv.kv_allocated_len) - len(request.origin_input_ids) + 1
        if position >= live.output_tokens:
            return EOS_TOKEN
        return live.first_token + position % OUTPUT_TOKENS

    def _advance(self, step: Step, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError(f"{self.step_time.name}: a step of {seconds} s for {step}")
        if self.overlap:  # the host goes on while the device computes, and its share is hidden
            hidden = float(getattr(self.step_time, "overhead_s", 0.0))
            self.device_free = max(self.clock.now, self.device_free) + seconds - hidden
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
        waiting = len(self.scheduler.waiting_queue)
        self.recorder.step(situation.now_s, waiting, len(self.live) - waiting, self._kv_use)

    def _kv_use(self) -> float:
        scheduler = self.scheduler
        free = scheduler.token_to_kv_pool_allocator.available_size()
        evictable = scheduler.tree_cache.evictable_size()
        return float(1.0 - (free + evictable) / scheduler.max_total_num_tokens)

    def _prefill_work(self, batch: Any) -> Step:
        """What a prefill pass computes; in a mixed one decoding requests ride along."""
        riding = {id(request) for request in batch.decoding_reqs or ()}
        tokens = requests = moved = decoding = kv_tokens = 0
        attention = 0.0
        rows = zip(batch.reqs, batch.extend_lens, batch.prefix_lens, strict=True)
        for request, new, prefix in rows:
            if id(request) in riding:
                decoding += 1
                kv_tokens += prefix + new
                continue
            live = self.live.get(request.rid)
            if live is not None and self._count_prefill(live, request, new, prefix):
                if not self.policy.swap_is_free:
                    moved += 2 * live.swapped_tokens  # out and back in
                live.swapped_tokens = 0
                continue
            requests += 1
            tokens += new
            attention += new * (prefix + new / 2)
        return Step(decoding, kv_tokens, tokens, attention, requests, moved)

    def _count_prefill(self, live: Live, request: Any, new: int, prefix: int) -> bool:
        """Keep the books on a row; whether its KV is moved back instead of computed."""
        recorder = self.recorder
        if live.swapped_tokens:
            return True
        recorder.prefill_tokens += new
        if not live.started:
            live.started = True
            recorder.cached_tokens += prefix
        elif request.retraction_count:
            recorder.recomputed_tokens += new
        return False

    def _leave(self, request: Any, live: Live, now: float) -> None:
        del self.live[request.rid]
        known = self.situation.known(request)
        self.situation.leave(request.rid)
        if type(request.finished_reason).__name__ == "FINISH_ABORT":
            self.recorder.refuse()
            return
        self.recorder.token(live, now)
        self.recorder.end(live, request, now, known.preemptions)
        if self.predictions is not None:
            self.predictions.finished(live.number, len(request.output_ids))


def _decode_work(batch: Any) -> Step:
    total = batch.seq_lens_sum
    kv_tokens = int(batch.seq_lens_cpu.sum()) if total is None else int(total)
    return Step(decode_requests=len(batch.reqs), decode_kv_tokens=kv_tokens)
