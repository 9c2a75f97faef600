#include <cmath>
#include <limits>
#include <vector>

#include "check_that.h"
#include "sagesched/check.h"
#include "sagesched/gittins.h"

using sagesched::CostModel;
using sagesched::gittins_index;
using sagesched::IndexBatch;

namespace {

constexpr CostModel token_cost{1.0, 0.0, 0.0};

template <class T = double>
double index_of(const std::vector<T>& pmf, const std::vector<double>& support, double age,
                double prompt_len, const CostModel& cost, double cached_len = 0.0) {
    const IndexBatch<T> batch{pmf.data(), support.data(), 1,          pmf.size(),
                              &age,       &prompt_len,    &cached_len};
    T out = 0;
    gittins_index(batch, cost, &out);
    return out;
}

bool close(double left, double right) { return std::abs(left - right) <= 1e-12 * std::abs(right); }

void known_values() {
    // Stop at 55: all three cost at most 55, (50 + 55 + 55) / 3, and two of three finish.
    CHECK(index_of({1.0, 1.0, 1.0}, {50, 55, 200}, 0, 0, token_cost) == 80.0);
    CHECK(index_of<float>({1, 1, 1}, {50, 55, 200}, 0, 0, token_cost) == 80.0);
    // Point mass: the cost itself, here (10^2 - 4^2)/2 + 3*(10-4) + 2*(3-1).
    CHECK(close(index_of({0.0, 0.5}, {5, 10}, 4, 3, {0, 1, 2}, 1), 42 + 18 + 4));
}

void without_information() {
    CHECK(index_of({1.0, 1.0}, {5, 10}, 10, 0, token_cost) == 10.0);  // ends at 2 * age
    // Empty, age 4: P(O > 5) = (4/5)^1.5; E[min(X, 1)]/P(X <= 1) against E[X].
    const double survival = std::pow(0.8, 1.5);
    const double expected = std::min(1 / (1 - survival), (1 - survival) * 1 + survival * 6);
    CHECK(close(index_of({0.0, 0.0}, {5, 10}, 4, 0, token_cost), expected));
    CHECK(index_of({1.0, 1e-13}, {5, 10}, 5, 0, token_cost) == 5.0);  // 1e-13 is not information
    CHECK(index_of({1.0, 1.0}, {5, 10}, 0, 7, {0, 0, 1}, 7) > 0.0);   // no cost left at all
}

void extreme_scales() {
    const std::vector<double> edges{50, 55, 200};
    for (const double mass : {1e-307, 1e-30, 1e30, 5e307})
        CHECK(close(index_of({mass, mass, mass}, edges, 0, 0, token_cost), 80.0));
    const double index = index_of({1.0, 1.0}, {1, sagesched::max_tokens}, 0, sagesched::max_tokens,
                                  {sagesched::max_coefficient, sagesched::max_coefficient, 1});
    CHECK(std::isfinite(index) && index > 0);
}

void bad_input() {
    using Error = std::invalid_argument;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(throws_with<Error>("row 0, column 1", [&] { index_of({1.0, nan}, {1, 2}, 0, 0, {}); }));
    CHECK(throws_with<Error>("is -1", [] { index_of({-1.0, 1.0}, {1, 2}, 0, 0, {}); }));
    CHECK(throws_with<Error>("sums to", [] { index_of({1e308, 1e308}, {1, 2}, 0, 0, {}); }));
    CHECK(throws_with<Error>("column 1", [] { index_of({1.0, 1.0}, {2, 2}, 0, 0, {}); }));
    CHECK(throws_with<Error>("age row 0", [&] { index_of({1.0}, {1}, nan, 0, {}); }));
    CHECK(throws_with<Error>("prompt_len row 0", [] { index_of({1.0}, {1}, 0, -1, {}); }));
    CHECK(throws_with<Error>("empty", [] { sagesched::check_support(nullptr, 0); }));
    CHECK(throws_with<Error>("all coefficients", [] { sagesched::check_cost_model({0, 0, 0}); }));
    CHECK(throws_with<Error>("memory", [&] { sagesched::check_cost_model({0, nan, 0}); }));
}

}  // namespace

int main() {
    known_values();
    without_information();
    extreme_scales();
    bad_input();
    return failures != 0;
}
