#include <cmath>
#include <cstdint>
#include <vector>

#include "check_that.h"
#include "sagesched/weigh.h"

namespace {

// Two records of one group, the second one unfinished, and one of another group.
const double log_tokens[] = {6, 4, 7}, standing[] = {0, 0, 0};
const bool finished[] = {true, false, true};
const std::int64_t origin[] = {0, 0, 1};
const double centre[] = {5, 5}, spread[] = {1, 2};
const std::int64_t group[] = {3, 8};
constexpr sagesched::Weights weights{2.0, 0.4, 0.0, 0.5, 0.25};

sagesched::Weighed weigh(const std::vector<float>& cosine, const std::vector<std::int64_t>& slots,
                         double usual, bool foreign) {
    return sagesched::weigh({log_tokens, standing, finished, origin, centre, spread, group},
                            {cosine.data(), slots.data(), slots.size(), usual, 0.0, 0.5, 3},
                            weights, foreign);
}

bool near(const std::vector<double>& found, const std::vector<double>& expected) {
    bool equal = found.size() == expected.size();
    for (std::size_t k = 0; equal && k < found.size(); ++k)
        equal = std::fabs(found[k] - expected[k]) < 1e-9;
    return equal;
}

}  // namespace

int main() {
    const auto own = weigh({0.75F, 0.5F, 0.75F}, {0, 1, 2}, 0.25, false);
    const double scale = (1.0 + 0.25 + 0.25) / (1.0 + 2 * 0.0625);
    CHECK(near(own.weight, {scale, 0.25 * scale, 0.25 * scale}));
    CHECK(near(own.plain, {1, -1, 1}));
    CHECK(near(own.score, {1.5, -0.5, 1.5}));
    CHECK(!own.any_draw && near(own.draw, {0, 0, 0}));

    // The same prompt is a draw of it, and the nearest other one has full weight.
    const auto again = weigh({1.0F, 0.5F, 0.0F}, {2, 0, 1}, 0.25, false);
    CHECK(again.any_draw && near(again.draw, {0.25, 0, 0}));
    CHECK(near(again.weight, {0, 1, 0}));

    // Of others: what has not finished tells nothing, and there are no draws.
    const auto others = weigh({1.0F, 0.75F, 0.75F}, {0, 1, 2}, 0.25, true);
    CHECK(!others.any_draw);
    CHECK(near(others.weight, {1.25 / 1.0625, 0, 0.25 * 1.25 / 1.0625}));

    // Nothing is nearer than usual, and nothing is near.
    CHECK(near(weigh({0.5F, 0.5F}, {0, 1}, 0.9, false).weight, {0, 0}));
    CHECK(weigh({}, {}, 0.0, false).weight.empty());
    return failures != 0;
}
