// The part of RankEngine that answers questions of order, and re-ranks.
#include <algorithm>
#include <cmath>
#include <string>

#include "rank_checks.h"
#include "sagesched/rank_engine.h"

namespace sagesched {

bool RankEngine::contains(std::int64_t handle) const {
    const std::uint32_t slot = slot_part_of(handle);
    const auto generation = static_cast<std::uint64_t>(handle) >> 32;
    return slot < slots_ && records_[slot].live && records_[slot].generation == generation;
}

std::uint32_t RankEngine::slot_of(std::int64_t handle) const {
    if (!contains(handle))
        throw UnknownHandleError("handle " + std::to_string(handle) +
                                 " is unknown; its request was removed or never added");
    return slot_part_of(handle);
}

double RankEngine::key_of(const Record& record) const {
    const double log_index = std::min(std::max(record.log_index, low_), high_);
    if (std::isinf(index_weight_)) return record.boost + log_index;
    const double moved = std::max(low_, log_index - lead_scale_ * static_cast<double>(record.lead));
    return (record.arrival + record.boost) + index_weight_ * moved;
}

std::size_t RankEngine::bytes_per_request() const {
    return bins() * sizeof(float) + sizeof(Record) + RankHeap::bytes_per_slot;
}

std::size_t RankEngine::top(std::size_t count, std::int64_t* handles) {
    rerank_slice();
    count = std::min(count, size());
    heap_.top(count, handles);
    return count;
}

std::vector<std::int64_t> RankEngine::top(std::size_t count) {
    std::vector<std::int64_t> handles(std::min(count, size()));
    top(handles.size(), handles.data());
    return handles;
}

int RankEngine::compare(std::int64_t a, std::int64_t b) const {
    const RankNode& left = heap_.node(slot_of(a));
    const RankNode& right = heap_.node(slot_of(b));
    return static_cast<int>(before(right, left)) - static_cast<int>(before(left, right));
}

void RankEngine::set_index_weight(double index_weight) {
    check_index_weight(index_weight);
    if (index_weight == index_weight_) return;
    index_weight_ = index_weight;
    stale_keys_ = slots_;
}

void RankEngine::set_index_band(double low, double high) {
    check_index_band(low, high);
    if (low == low_ && high == high_) return;
    low_ = low;
    high_ = high;
    stale_keys_ = slots_;
}

void RankEngine::set_lead_scale(double scale) {
    check_lead_scale(scale);
    if (scale == lead_scale_) return;
    lead_scale_ = scale;
    stale_keys_ = slots_;
}

void RankEngine::set_cost(const CostModel& cost) {
    check_rank_cost(cost);
    cost_ = cost;
    stale_costs_ = slots_;
}

std::size_t RankEngine::pending() const { return std::max(stale_keys_, stale_costs_); }

void RankEngine::rerank_slice() {
    const std::size_t count = std::min(slice_, pending());
    const std::size_t costs = std::min(count, stale_costs_);
    if (costs > 0) visit(costs, true);
    if (count > costs) visit(count - costs, false);
}

// A round that a newer change starts over goes on where it is, so that no slot is left behind by
// changes that come faster than rounds end.
void RankEngine::visit(std::size_t count, bool evaluated) {
    Changes nothing;
    scratch_.slots.clear();
    for (std::size_t i = 0; i < count; ++i) {
        const auto slot = static_cast<std::uint32_t>((cursor_ + i) % slots_);
        if (!records_[slot].live) continue;
        scratch_.slots.push_back(slot);
        heap_.prefetch(slot);
    }
    nothing.count = scratch_.slots.size();
    if (evaluated) {
        gather(nothing);
        evaluate(scratch_.pmf.data(), nothing.count);
    }
    commit(nothing, evaluated);
    cursor_ = (cursor_ + count) % slots_;
    stale_keys_ -= std::min(stale_keys_, count);
    stale_costs_ -= std::min(stale_costs_, count);
}

}  // namespace sagesched
