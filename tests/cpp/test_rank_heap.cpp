#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "check_that.h"
#include "sagesched/rank_heap.h"

using sagesched::before;
using sagesched::RankHeap;
using sagesched::RankNode;

namespace {

RankNode node(std::int64_t priority, double key, std::uint64_t sequence = 0) {
    return RankNode::of(priority, key, sequence, sequence);
}

void keys_keep_their_value_and_order() {
    constexpr double most = std::numeric_limits<double>::max();
    const double ascending[] = {-most, -1.5, -1.0, -5e-324, 0.0, 5e-324, 1.0, 1.5, most};
    for (const double key : ascending) CHECK(node(3, key).key() == key);
    for (std::size_t i = 1; i < std::size(ascending); ++i) {
        CHECK(before(node(0, ascending[i - 1], 9), node(0, ascending[i], 1)));
        CHECK(!before(node(0, ascending[i], 1), node(0, ascending[i - 1], 9)));
    }
    CHECK(before(node(0, -0.0, 1), node(0, 0.0, 2)) && before(node(0, 0.0, 1), node(0, -0.0, 2)));
}

void priority_goes_before_key_and_key_before_sequence() {
    constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();
    constexpr std::int64_t greatest = std::numeric_limits<std::int64_t>::max();
    CHECK(before(node(-1, 1e300), node(0, -1e300)) && before(node(least, 1), node(greatest, 1)));
    CHECK(before(node(least, -1e300, 1), node(least, -1e300, 2)));
    RankNode changed = node(least, -7.0, 5);
    changed.set_key(8.0);
    CHECK(changed.place == node(least, 8.0).place && changed.sequence == 5);
}

// A heap of every size around the edges of groups and pages; all of it in order, then emptied from
// random places.
void sizes(std::size_t size) {
    std::mt19937 random(static_cast<std::uint32_t>(size));
    RankHeap heap;
    heap.reserve(size);
    std::vector<RankNode> nodes;
    for (std::uint64_t slot = 0; slot < size; ++slot) {
        nodes.push_back(RankNode::of(random() % 2, random() % 100, slot, slot));
        heap.push(nodes.back());
    }
    while (!nodes.empty()) {
        std::sort(nodes.begin(), nodes.end(), before<RankNode, RankNode>);
        std::vector<std::int64_t> top(nodes.size());
        heap.top(top.size(), top.data());
        bool same = heap.size() == nodes.size();
        for (std::size_t i = 0; i < top.size(); ++i)
            same = same && static_cast<std::uint64_t>(top[i]) == nodes[i].handle;
        CHECK(same);
        for (std::size_t i = nodes.size() / 3 + 1; i > 0 && !nodes.empty(); --i) {
            std::swap(nodes[random() % nodes.size()], nodes.back());
            heap.erase(static_cast<std::uint32_t>(nodes.back().handle));
            nodes.pop_back();
        }
    }
    heap.top(0, nullptr);
    CHECK(heap.size() == 0);
}

}  // namespace

int main() {
    keys_keep_their_value_and_order();
    priority_goes_before_key_and_key_before_sequence();
    for (std::size_t size = 0; size < 24; ++size) sizes(size);
    for (const std::size_t size : {1020, 1021, 1022, 1024, 1025, 2049}) sizes(size);
    return failures != 0;
}
