#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "sagesched/pages.h"

namespace sagesched {

// What decides the place of one request: (priority, key, sequence), smaller first. Priority and key
// are kept as one integer: priority above, below it the bits of the key in an order of their own.
// Which of two keys is the smaller cannot be predicted, and integers compare without a branch.
struct RankNode {
    using Place = __int128;

    Place place;
    std::uint64_t sequence;
    std::uint64_t handle;  // whose it is; its low 32 bits are the slot

    static RankNode of(std::int64_t priority, double key, std::uint64_t sequence,
                       std::uint64_t handle) {
        return {static_cast<Place>(priority) * two_to_64 + sortable(key), sequence, handle};
    }
    double key() const { return key_of(static_cast<std::uint64_t>(place)); }
    void set_key(double key) { place = place - static_cast<std::uint64_t>(place) + sortable(key); }

  private:
    static constexpr Place two_to_64 = static_cast<Place>(1) << 64;
    static constexpr std::uint64_t sign = std::uint64_t{1} << 63;

    // The key is not NaN. Adding 0.0 makes -0.0 the same key as 0.0.
    static std::uint64_t sortable(double key) {
        key += 0.0;
        std::uint64_t bits;
        std::memcpy(&bits, &key, sizeof bits);
        return (bits & sign) != 0 ? ~bits : bits | sign;
    }
    static double key_of(std::uint64_t sortable_bits) {
        const std::uint64_t bits =
            (sortable_bits & sign) != 0 ? sortable_bits & ~sign : ~sortable_bits;
        double key;
        std::memcpy(&key, &bits, sizeof key);
        return key;
    }
};

static_assert(sizeof(RankNode) == 32, "four siblings fill two cache lines");

// No two nodes of a heap are equal: sequences differ.
template <class A, class B>
bool before(const A& a, const B& b) {
    if (__builtin_expect(a.place == b.place, false)) return a.sequence < b.sequence;
    return a.place < b.place;
}

// Heap with four children per node that knows where each slot's node is. Changing, adding and
// removing a node cost O(log n), and O(1) where a node stays near its place, as most do from step
// to step. The order of the nodes in memory depends on history; what top() answers does not.
class RankHeap {
  public:
    static constexpr std::size_t bytes_per_slot = sizeof(RankNode) + sizeof(std::uint32_t);

    std::size_t size() const { return end_ - root; }

    // Room for `count` nodes and for slots below it. The only call that can fail (bad_alloc).
    void reserve(std::size_t count);

    const RankNode& node(std::uint32_t slot) const { return nodes_[position_[slot]]; }
    void push(const RankNode& node);
    void erase(std::uint32_t slot);
    void rekey(std::uint32_t slot, double key);

    // Ask for the cache lines that rekey() or erase() will need.
    void prefetch(std::uint32_t slot) const;

    // Handles of the best `count` nodes, best first; at most size().  O(count log count)
    void top(std::size_t count, std::int64_t* handles);

  private:
    // The children of position p are 4p - 8 to 4p - 5 and the root is at 3, so that siblings fill
    // two aligned cache lines.
    static constexpr std::size_t root = 3;
    static std::size_t parent_of(std::size_t position) { return position / 4 + 2; }
    static std::size_t first_child_of(std::size_t position) { return 4 * position - 8; }

    void put(std::size_t position, const RankNode& node);
    void settle(std::size_t position, RankNode node);
    void sift_up(std::size_t position, RankNode node);
    void sift_down(std::size_t position, RankNode node);

    Pages<RankNode> nodes_;
    Pages<std::uint32_t> position_;  // by slot
    std::size_t end_ = root;

    // What top() may take next, and which siblings come after it.
    struct Candidate {
        RankNode::Place place;
        std::uint64_t sequence;
        std::uint32_t position;
        std::uint32_t siblings;  // in order, four bits each: 8 + the place among the four
    };

    Candidate candidate(std::size_t position, std::uint32_t siblings) const;
    Candidate next_sibling(const Candidate& taken) const;
    Candidate best_child(std::size_t position) const;
    void add_candidate(const Candidate& added);
    void replace_best(const Candidate& other);

    std::vector<Candidate> frontier_;  // a heap with two children per node; scratch of top()
};

}  // namespace sagesched
