#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sagesched {

// What is known of past requests, by slot; and by the number of where they come from, the scale of
// its scores and its group.
struct PastRequests {
    const double* log_tokens;
    const double* standing;  // on the trend, in scores
    const bool* finished;
    const std::int64_t* origin;
    const double* centre;
    const double* spread;
    const std::int64_t* group;
};

// Of a request that is asked about: what is near to it, how near anything is, where it stands, by
// how much such requests miss their predictions of late.
struct Asked {
    const float* cosine;
    const std::int64_t* slots;
    std::size_t count;
    double usual;
    double standing;
    double shift;
    std::int64_t group;
};

// See sagesched.predict.config.
struct Weights {
    double sharpness, trend_window, trend_floor, trend_share, other_group;
};

// Per near record. `weight` is 0 for the same prompt, of which there is `draw` instead.
struct Weighed {
    std::vector<double> score;  // corrected by the trend
    std::vector<double> weight;
    std::vector<double> plain;  // the score as it was
    std::vector<double> draw;
    bool any_draw;
};

// How much the near records of one's own tenant tell, or with `foreign` those of others: then what
// has not finished tells nothing, and the same prompt is one like any other.
//
// Weights are scaled so that their sum is the number of equal ones that would tell as much.
Weighed weigh(const PastRequests& past, const Asked& asked, const Weights& weights, bool foreign);

}  // namespace sagesched
