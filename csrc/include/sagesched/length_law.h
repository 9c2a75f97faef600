#pragma once

#include <cstddef>
#include <vector>

namespace sagesched {

// Bins of equal width on [-most, most], in standard scores of ln(length).
struct ScoreGrid {
    std::size_t bins;
    double most;
};

// Weighted outcomes of other requests. `finished` is false where an output is only known to be
// longer. With a weight of zero an outcome does not count.
struct Evidence {
    const double* score;
    const double* weight;
    const bool* finished;
    std::size_t count;
    double strength;  // of what was believed before, in outcomes of weight 1
};

// The length distribution of a request: `prior[bins]`, moved by `shift` scores, updated by each
// evidence in turn, and cut into the bins of tokens that end at `at[m]`, ascending, in scores. What
// lies beyond the last one stops there; no bin is left without a trace of probability.
//
// An update is the beta-Stacy posterior (Walker and Muliere, Annals of Statistics 25, 1997), a
// Kaplan-Meier estimate whose hazards are shrunk towards those of the prior; see
// sagesched.predict.survival. O(bins + outcomes) each.
void length_law(const ScoreGrid& grid, const double* prior, double shift,
                const std::vector<Evidence>& evidence, const double* at, std::size_t m,
                double* out);

}  // namespace sagesched
