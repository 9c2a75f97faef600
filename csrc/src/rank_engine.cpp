#include "sagesched/rank_engine.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "log.h"
#include "rank_checks.h"
#include "sagesched/check.h"
#include "sagesched/gittins.h"

namespace sagesched {
namespace {

constexpr std::uint32_t last_generation = std::numeric_limits<std::int32_t>::max();

// At 100,000 requests nothing is in the cache: ask for a slot's memory this many slots ahead.
constexpr std::size_t ahead = 8;
constexpr std::size_t cache_line = 64;

std::uint64_t handle_from(std::uint32_t generation, std::uint32_t slot) {
    return std::uint64_t{generation} << 32 | slot;
}

void prefetch_row(const float* row, std::size_t bins) {
    const char* const bytes = reinterpret_cast<const char*>(row);
    for (std::size_t i = 0; i < bins * sizeof(float); i += cache_line)
        __builtin_prefetch(bytes + i);
}

}  // namespace

RankEngine::RankEngine(std::vector<double> support, const CostModel& cost, double index_weight,
                       std::size_t slice)
    : support_(std::move(support)),
      cost_(cost),
      index_weight_(index_weight),
      slice_(slice),
      pmf_(support_.size()) {
    check_rank_support(support_);
    check_rank_cost(cost_);
    check_index_weight(index_weight_);
    check_slice(slice_);
}

std::int64_t RankEngine::add(const float* pmf, const NewRequest& request) {
    std::int64_t handle;
    add_batch(pmf, &request, 1, &handle);
    return handle;
}

void RankEngine::add_batch(const float* pmf, const NewRequest* requests, std::size_t count,
                           std::int64_t* handles) {
    check_requests(requests, count);
    check_pmf(pmf, count, bins());
    scratch_.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
        scratch_.age[i] = requests[i].age;
        scratch_.prompt_len[i] = requests[i].prompt_len;
        scratch_.cached_len[i] = requests[i].cached_len;
    }
    evaluate(pmf, count);
    reserve(count);
    for (std::size_t i = 0; i < count; ++i) handles[i] = admit(pmf + i * bins(), requests[i], i);
}

std::int64_t RankEngine::admit(const float* pmf, const NewRequest& request, std::size_t row) {
    const std::uint32_t slot = take_slot();
    std::copy(pmf, pmf + bins(), pmf_.row(slot));
    Record& record = records_[slot];
    record.age = request.age;
    record.prompt_len = request.prompt_len;
    record.cached_len = request.cached_len;
    record.arrival = request.arrival;
    record.boost = 0.0;
    record.lead = static_cast<float>(request.lead);
    record.index = scratch_.index[row];
    record.log_index = scratch_.log_index[row];
    const std::uint64_t handle = handle_from(record.generation, slot);
    heap_.push(RankNode::of(request.priority, key_of(record), next_sequence_++, handle));
    return static_cast<std::int64_t>(handle);
}

void RankEngine::reserve(std::size_t count) {
    const std::size_t rows = slots_ + count - std::min(count, free_slots_);
    pmf_.reserve(rows);
    records_.reserve(rows);
    heap_.reserve(rows);
}

std::uint32_t RankEngine::take_slot() {
    auto slot = static_cast<std::uint32_t>(slots_);
    if (free_slots_ > 0) {
        slot = first_free_;
        first_free_ = records_[slot].link;
        --free_slots_;
    } else {
        // A slot that lengthens the round of a re-ranking is visited too: one more is left.
        for (std::size_t* stale : {&stale_keys_, &stale_costs_})
            if (cursor_ + *stale > slots_) ++*stale;
        ++slots_;
        records_[slot].generation = 1;  // no handle is 0
    }
    records_[slot].live = 1;
    records_[slot].link = 0;
    return slot;
}

void RankEngine::release(std::uint32_t slot) {
    heap_.erase(slot);
    Record& record = records_[slot];
    record.live = 0;
    // A slot whose generations are used up is retired: its handles must never come back.
    if (record.generation == last_generation) return;
    ++record.generation;
    record.link = first_free_;
    first_free_ = slot;
    ++free_slots_;
}

void RankEngine::update(const Changes& changes, const std::int64_t* gone, std::size_t gone_count) {
    check_changes(changes);
    locate(changes.handles, changes.count, scratch_.slots);
    locate(gone, gone_count, scratch_.gone);
    refuse_repeated(gone, scratch_.gone);
    const bool evaluated = changes.age || changes.cached_len;
    if (evaluated) {
        gather(changes);
        evaluate(scratch_.pmf.data(), changes.count);
    }
    commit(changes, evaluated);
    for (const std::uint32_t slot : scratch_.gone) release(slot);
}

void RankEngine::update_age(const std::int64_t* handles, const double* ages, std::size_t count) {
    update({handles, count, ages, nullptr, nullptr});
}

void RankEngine::set_cached_prefix(const std::int64_t* handles, const double* lengths,
                                   std::size_t count) {
    update({handles, count, nullptr, lengths, nullptr});
}

void RankEngine::set_boost(const std::int64_t* handles, const double* boosts, std::size_t count) {
    update({handles, count, nullptr, nullptr, boosts});
}

void RankEngine::locate(const std::int64_t* handles, std::size_t count,
                        std::vector<std::uint32_t>& slots) {
    slots.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
        if (i + ahead < count && slot_part_of(handles[i + ahead]) < slots_)
            __builtin_prefetch(&records_[slot_part_of(handles[i + ahead])], 1);
        slots[i] = slot_of(handles[i]);
        heap_.prefetch(slots[i]);  // wanted last, in commit()
    }
}

// Each slot notes where in the list it was seen. An old note is recognised: it does not point to
// an earlier place with the same slot.
void RankEngine::refuse_repeated(const std::int64_t* handles,
                                 const std::vector<std::uint32_t>& slots) {
    for (std::size_t i = 0; i < slots.size(); ++i) {
        std::uint32_t& seen = records_[slots[i]].link;
        if (seen < i && slots[seen] == slots[i])
            throw UnknownHandleError("handle " + std::to_string(handles[i]) +
                                     " occurs more than once among those to remove");
        seen = static_cast<std::uint32_t>(i);
    }
}

// The rows to evaluate as they will be after the changes.
void RankEngine::gather(const Changes& changes) {
    scratch_.resize(changes.count);
    scratch_.pmf.resize(std::max(scratch_.pmf.size(), changes.count * bins()));
    for (std::size_t i = 0; i < changes.count; ++i) {
        if (i + ahead < changes.count) prefetch_row(pmf_.row(scratch_.slots[i + ahead]), bins());
        const std::uint32_t slot = scratch_.slots[i];
        const Record& record = records_[slot];
        const float* const row = pmf_.row(slot);
        std::copy(row, row + bins(), scratch_.pmf.data() + i * bins());
        scratch_.age[i] = changes.age ? changes.age[i] : record.age;
        scratch_.cached_len[i] = changes.cached_len ? changes.cached_len[i] : record.cached_len;
        scratch_.prompt_len[i] = record.prompt_len;
    }
}

// Index and logarithm of `count` rows: pmf and the columns of the scratch. The one call of the
// kernel.
void RankEngine::evaluate(const float* pmf, std::size_t count) {
    if (count == 0) return;
    const IndexBatch<float> batch{pmf,
                                  support_.data(),
                                  count,
                                  bins(),
                                  scratch_.age.data(),
                                  scratch_.prompt_len.data(),
                                  scratch_.cached_len.data()};
    gittins_index(batch, cost_, scratch_.index.data());
    ++kernel_calls_;
    natural_log(scratch_.index.data(), count, scratch_.log_index.data());
}

void RankEngine::commit(const Changes& changes, bool evaluated) {
    for (std::size_t i = 0; i < scratch_.slots.size(); ++i) {
        const std::uint32_t slot = scratch_.slots[i];
        Record& record = records_[slot];
        if (changes.age) record.age = changes.age[i];
        if (changes.cached_len) record.cached_len = changes.cached_len[i];
        if (changes.boost) record.boost = changes.boost[i];
        if (evaluated) {
            record.index = scratch_.index[i];
            record.log_index = scratch_.log_index[i];
        }
        heap_.rekey(slot, key_of(record));
    }
}

void RankEngine::Scratch::resize(std::size_t rows) {
    if (age.size() >= rows) return;
    for (auto* column : {&prompt_len, &cached_len, &log_index}) column->resize(rows);
    index.resize(rows);
    age.resize(rows);  // last: its size says that all have that many
}

}  // namespace sagesched
