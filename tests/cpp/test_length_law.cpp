#include <cmath>
#include <vector>

#include "check_that.h"
#include "sagesched/length_law.h"

using Values = std::vector<double>;

namespace {

constexpr sagesched::ScoreGrid grid{8, 4.0};  // bins of one score
const Values even(8, 1.0 / 8.0);
const Values at{-3, -2, -1, 0, 1, 2, 3, 4};  // the same bins

Values law(double shift, const std::vector<sagesched::Evidence>& evidence,
           const Values& edges = at) {
    Values out(edges.size());
    sagesched::length_law(grid, even.data(), shift, evidence, edges.data(), edges.size(),
                          out.data());
    return out;
}

bool near(const Values& found, const Values& expected) {
    bool equal = found.size() == expected.size();
    for (std::size_t k = 0; equal && k < found.size(); ++k)
        equal = std::fabs(found[k] - expected[k]) < 1e-9;
    return equal;
}

}  // namespace

int main() {
    CHECK(near(law(0.0, {}), even));
    // What leaves the grid stays at its end; moved by half a bin, each end gives half of its mass.
    const double half = 1.0 / 16.0, one = 1.0 / 8.0;
    CHECK(near(law(0.5, {}), {half, one, one, one, one, one, one, one + half}));
    CHECK(near(law(-1e9, {}), {1, 0, 0, 0, 0, 0, 0, 0}));
    // Tokens end at score 1: what lies beyond stops there.
    CHECK(near(law(0.0, {}, {-1, 1}), {3.0 / 8.0, 5.0 / 8.0}));
    CHECK(near(law(0.0, {}, {100}), {1}));

    // Seven outcomes in the bin of -0.5 beside a prior of strength 1.
    const double score = -0.5, weight = 7.0;
    const bool finished = true, running = false;
    const double rest = (1.0 / 8.0) / 8.0;
    CHECK(near(law(0.0, {{&score, &weight, &finished, 1, 1.0}}),
               {rest, rest, rest, rest + 7.0 / 8.0, rest, rest, rest, rest}));
    // The same ones unfinished: nothing ended before that bin but by the prior.
    const auto longer = law(0.0, {{&score, &weight, &running, 1, 1.0}});
    CHECK(std::fabs(longer[0] - one / 8.0) < 1e-9);
    CHECK(longer[3] + longer[4] + longer[5] + longer[6] + longer[7] > 0.95);
    CHECK(std::fabs(longer[4] - longer[7]) < 1e-9);

    // Outcomes far outside, without weight, and none at all.
    const Values far{1e300, -1e300}, none{0.0, 0.0};
    const bool both[] = {true, true};
    CHECK(near(law(0.0, {{far.data(), none.data(), both, 2, 0.5}}), even));
    CHECK(near(law(0.0, {{nullptr, nullptr, nullptr, 0, 0.5}}), even));
    const Values ones{1e6, 1e6};
    const auto split = law(0.0, {{far.data(), ones.data(), both, 2, 0.5}});
    CHECK(std::fabs(split[0] - 0.5) < 1e-5 && std::fabs(split[7] - 0.5) < 1e-5);
    return failures != 0;
}
