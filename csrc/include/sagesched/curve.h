#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "sagesched/cost_model.h"

namespace sagesched {

// The Gittins index of one request at every age and every uncached prefill, from one O(bins) pass.
//
// Let S_k be the mass of the bins k and later, p_k that of bin k, and d_k the cost from edge k-1 to
// edge k. At an age below edge j (and not below the one before) with K the cost from there to edge
// j, prefill included, stopping before bin k costs, truncated there, W = K S_j + sum_{j<i<k} d_i
// S_i and finishes F = p_j + sum_{j<i<k} p_i. The index is the least W / F over k > j. In a plane
// with F to the right and W upwards, the bins after j are a path of steps (p_i, d_i S_i), and the
// index is the slope of the tangent from the origin to that path, begun at (p_j, K S_j): age,
// cached prefix and prefill cost move the beginning of the path and nothing else. What the tangent
// can touch is the lower convex hull of the path.
//
// Bins are taken from the last to the first. Each begins a block of its own, which swallows the
// blocks after it while they are less steep: a stack of blocks, steeper and steeper, whose corners
// are the hull of the rest of the path. The stacks of all bins share their tails (a tree of parent
// links), so that all hulls together are O(bins). Links that jump (Myers, "An applicative random-
// access stack", 1983) with the sums of what they jump over find the tangent in O(log bins). All
// sums have terms >= 0 only and nothing is subtracted: tails keep their digits.
class IndexCurve {
  public:
    struct Answer {
        double index;         // finite, > 0
        double stop;          // edge that attains it, the first one if several do
        std::size_t visited;  // blocks looked at
    };

    // Throws std::invalid_argument as check.h.
    IndexCurve(std::vector<double> support, const CostModel& cost);

    // The request that is asked about from now on. O(bins), without allocation after the first.
    void assign(const double* pmf, double prompt_len);

    // The index at an age and a number of cached prompt tokens. O(log bins).
    Answer index(double age, double cached_len) const;

    // The index at age 0 and at each edge, to out[bins + 1]. O(bins) in all if nothing is left to
    // prefill, otherwise O(bins * log bins).
    void all_ages(double cached_len, double* out) const;

    std::size_t bins() const { return edge_.size(); }
    // Blocks swallowed while the curve was built: at most one per bin, two if the row can outlive
    // its distribution.
    std::size_t merges() const { return law_.merges + continuation_.merges; }

  private:
    struct Block {
        double cost, mass;            // of the block
        double jump_cost, jump_mass;  // from here up to the block that `jump` names
        std::uint32_t parent, jump;   // first bin of the next block; of one further on
        std::uint32_t depth;          // blocks from here to the end
    };
    struct Law {
        std::vector<double> survival;  // [bins + 1] S_k
        std::vector<double> mass;      // [bins] p_k
        std::vector<Block> block;      // [bins + 1]
        std::uint32_t end;             // no mass from this bin on
        std::size_t merges;
    };
    struct Path {
        double cost, mass;
    };

    double cost_between(double low, double high) const;
    double offset(double cached_len) const;
    void set_law(const double* pmf);
    void set_continuation();
    void build(Law& law);
    Block block_of(const Law& law, std::uint32_t bin, std::size_t& merges) const;
    const Law& law_at(std::size_t bin) const;
    Answer tangent(const Law& law, std::uint32_t bin, Path path) const;
    Answer from_bin(std::size_t bin, double age, double to_pay) const;
    Answer finished(double index, double stop, std::size_t visited) const;

    std::vector<double> edge_;
    CostModel cost_;
    double prompt_len_ = 0.0;
    double unit_ = 1.0, slope_ = 0.0, half_memory_ = 0.0;  // slope and memory in units of unit_
    double least_ = 0.0;                                   // mass that is no information
    Law law_{}, continuation_{};
};

}  // namespace sagesched
