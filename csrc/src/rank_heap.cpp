#include "sagesched/rank_heap.h"

#include <algorithm>

namespace sagesched {
namespace {

std::uint32_t slot_of(const RankNode& node) { return static_cast<std::uint32_t>(node.handle); }

// Places 0 to count - 1 of a group of siblings, best first, as four bits each: 8 + place.
inline std::uint32_t order_of(const RankNode* group, std::size_t count) {
    std::uint32_t order = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::uint32_t better = 0;
        for (std::uint32_t j = 0; j < count; ++j) better += before(group[j], group[i]);
        order |= (8 + i) << 4 * better;
    }
    return order;
}

}  // namespace

void RankHeap::reserve(std::size_t count) {
    nodes_.reserve(root + count);
    position_.reserve(count);
}

void RankHeap::push(const RankNode& node) { sift_up(end_++, node); }

void RankHeap::erase(std::uint32_t slot) {
    const std::size_t hole = position_[slot];
    --end_;
    if (hole != end_) settle(hole, nodes_[end_]);
}

void RankHeap::rekey(std::uint32_t slot, double key) {
    const std::size_t position = position_[slot];
    RankNode node = nodes_[position];
    node.set_key(key);
    if (node.place != nodes_[position].place) settle(position, node);
}

void RankHeap::prefetch(std::uint32_t slot) const {
    const std::size_t position = position_[slot];
    __builtin_prefetch(&nodes_[position], 1);
    __builtin_prefetch(&nodes_[parent_of(position)]);
    const std::size_t child = first_child_of(position);
    if (child < end_) __builtin_prefetch(&nodes_[child]);
}

void RankHeap::put(std::size_t position, const RankNode& node) {
    nodes_[position] = node;
    position_[slot_of(node)] = static_cast<std::uint32_t>(position);
}

void RankHeap::settle(std::size_t position, RankNode node) {
    if (position != root && before(node, nodes_[parent_of(position)]))
        sift_up(position, node);
    else
        sift_down(position, node);
}

void RankHeap::sift_up(std::size_t position, RankNode node) {
    while (position != root) {
        const std::size_t parent = parent_of(position);
        if (!before(node, nodes_[parent])) break;
        put(position, nodes_[parent]);
        position = parent;
    }
    put(position, node);
}

void RankHeap::sift_down(std::size_t position, RankNode node) {
    for (;;) {
        const std::size_t first = first_child_of(position);
        if (first >= end_) break;
        const std::size_t end = std::min(first + 4, end_);
        std::size_t best = first;
        for (std::size_t child = first + 1; child < end; ++child)
            if (before(nodes_[child], nodes_[best])) best = child;
        if (!before(nodes_[best], node)) break;
        put(position, nodes_[best]);
        position = best;
    }
    put(position, node);
}

RankHeap::Candidate RankHeap::candidate(std::size_t position, std::uint32_t siblings) const {
    const RankNode& node = nodes_[position];
    return {node.place, node.sequence, static_cast<std::uint32_t>(position), siblings};
}

RankHeap::Candidate RankHeap::next_sibling(const Candidate& taken) const {
    const std::size_t group = taken.position - taken.position % 4;
    return candidate(group + taken.siblings % 4, taken.siblings >> 4);
}

RankHeap::Candidate RankHeap::best_child(std::size_t position) const {
    const std::size_t first = first_child_of(position);
    const RankNode* const group = &nodes_[first];
    const std::uint32_t order =
        end_ - first >= 4 ? order_of(group, 4) : order_of(group, end_ - first);
    return candidate(first + order % 4, order >> 4);
}

void RankHeap::add_candidate(const Candidate& added) {
    std::size_t place = frontier_.size();
    frontier_.push_back(added);
    while (place > 0 && before(added, frontier_[(place - 1) / 2])) {
        frontier_[place] = frontier_[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    frontier_[place] = added;
}

void RankHeap::replace_best(const Candidate& other) {
    const std::size_t size = frontier_.size();
    std::size_t place = 0;
    for (std::size_t child = 1; child < size; child = 2 * place + 1) {
        child += child + 1 < size && before(frontier_[child + 1], frontier_[child]);
        if (!before(frontier_[child], other)) break;
        frontier_[place] = frontier_[child];
        place = child;
    }
    frontier_[place] = other;
}

// Best first: the next one is a child of one that was taken. Of four siblings only the best waits
// in the frontier, with a note of the others; when it is taken the next one takes its place.
void RankHeap::top(std::size_t count, std::int64_t* handles) {
    frontier_.clear();
    if (count > 0) frontier_.push_back(candidate(root, 0));
    for (std::size_t i = 0; i < count; ++i) {
        const Candidate best = frontier_.front();
        handles[i] = static_cast<std::int64_t>(nodes_[best.position].handle);
        const bool has_child = first_child_of(best.position) < end_;
        if (best.siblings != 0) {
            replace_best(next_sibling(best));
            if (has_child) add_candidate(best_child(best.position));
        } else if (has_child) {
            replace_best(best_child(best.position));
        } else {
            const Candidate last = frontier_.back();
            frontier_.pop_back();
            if (!frontier_.empty()) replace_best(last);
        }
    }
}

}  // namespace sagesched
