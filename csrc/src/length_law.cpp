#include "sagesched/length_law.h"

#include <algorithm>
#include <cmath>

namespace sagesched {
namespace {

constexpr double trace = 1e-12;

using Values = std::vector<double>;

void normalise(double* values, std::size_t count) {
    double total = 0.0;
    for (std::size_t k = 0; k < count; ++k) total += values[k] = std::max(values[k], trace);
    for (std::size_t k = 0; k < count; ++k) values[k] /= total;
}

// cdf[k] = mass below the left edge of bin k; one more than there are bins.
Values cumulated(const Values& mass) {
    Values cdf(mass.size() + 1, 0.0);
    for (std::size_t k = 0; k < mass.size(); ++k) cdf[k + 1] = cdf[k] + mass[k];
    return cdf;
}

// The distribution function at `place`, in bins from the left end of the grid.
double at_place(const Values& cdf, double place) {
    const auto bins = static_cast<double>(cdf.size() - 1);
    if (!(place > 0.0)) return 0.0;
    if (place >= bins) return cdf.back();
    const auto k = static_cast<std::size_t>(place);
    return cdf[k] + (place - static_cast<double>(k)) * (cdf[k + 1] - cdf[k]);
}

// What leaves the grid stays at its end.
void shift_by(Values& law, double places) {
    if (places == 0.0) return;
    const Values cdf = cumulated(law);
    double below = 0.0;
    for (std::size_t k = 0; k < law.size(); ++k) {
        const bool last = k + 1 == law.size();
        const double next = last ? cdf.back() : at_place(cdf, static_cast<double>(k + 1) - places);
        law[k] = next - below;
        below = next;
    }
    normalise(law.data(), law.size());
}

void update(Values& law, const ScoreGrid& grid, const Evidence& evidence) {
    Values ended(grid.bins, 0.0), censored(grid.bins, 0.0);
    const double per_score = static_cast<double>(grid.bins) / (2.0 * grid.most);
    const auto last = static_cast<double>(grid.bins - 1);
    for (std::size_t i = 0; i < evidence.count; ++i) {
        const double place = (evidence.score[i] + grid.most) * per_score;
        const auto bin = static_cast<std::size_t>(std::clamp(place, 0.0, last));
        (evidence.finished[i] ? ended : censored)[bin] += evidence.weight[i];
    }
    // From the longest bin down: law[k] becomes the hazard of bin k.
    double at_risk = 0.0, believed = 0.0;
    for (std::size_t k = grid.bins; k-- > 0;) {
        at_risk += ended[k];
        believed += law[k];
        const double hazard =
            (ended[k] + evidence.strength * law[k]) / (at_risk + evidence.strength * believed);
        law[k] = std::clamp(hazard, 0.0, 1.0);
        at_risk += censored[k];  // at risk in the bins before its own
    }
    law.back() = 1.0;  // nothing outlives the grid
    double reached = 1.0;
    for (double& mass : law) {
        const double hazard = mass;
        mass = hazard * reached;
        reached *= 1.0 - hazard;
    }
    normalise(law.data(), law.size());
}

}  // namespace

void length_law(const ScoreGrid& grid, const double* prior, double shift,
                const std::vector<Evidence>& evidence, const double* at, std::size_t m,
                double* out) {
    const double per_score = static_cast<double>(grid.bins) / (2.0 * grid.most);
    Values law(prior, prior + grid.bins);
    shift_by(law, shift * per_score);
    for (const Evidence& one : evidence) update(law, grid, one);
    const Values cdf = cumulated(law);
    double below = 0.0;
    for (std::size_t k = 0; k < m; ++k) {
        const bool last = k + 1 == m;
        const double next = last ? cdf.back() : at_place(cdf, (at[k] + grid.most) * per_score);
        out[k] = next - below;
        below = next;
    }
    normalise(out, m);
}

}  // namespace sagesched
