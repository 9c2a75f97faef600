#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "check_that.h"
#include "sagesched/curve.h"
#include "sagesched/gittins.h"

using sagesched::CostModel;
using sagesched::IndexCurve;

namespace {

using Doubles = std::vector<double>;

Doubles steps(std::size_t bins) {
    Doubles support(bins);
    for (std::size_t k = 0; k < bins; ++k) support[k] = static_cast<double>(k + 1);
    return support;
}

double kernel_index(const Doubles& pmf, const Doubles& support, double age, double prompt_len,
                    double cached_len, const CostModel& cost) {
    double out = 0.0;
    sagesched::gittins_index<double>(
        {pmf.data(), support.data(), 1, pmf.size(), &age, &prompt_len, &cached_len}, cost, &out);
    return out;
}

void agrees_with_the_kernel() {
    std::mt19937 random(1);
    std::uniform_real_distribution<double> uniform;
    const CostModel cost{1.0, 0.5, 20.0};
    for (std::size_t bins : {1, 2, 3, 8, 50}) {
        const Doubles support = steps(bins);
        IndexCurve curve(support, cost);
        for (int row = 0; row < 20; ++row) {
            Doubles pmf(bins);
            for (double& mass : pmf) mass = uniform(random) < 0.5 ? 0.0 : uniform(random);
            curve.assign(pmf.data(), 30.0);  // reused: nothing of the row before may stay
            for (int query = 0; query < 20; ++query) {
                const double age = uniform(random) * 1.2 * static_cast<double>(bins);
                const double cached = uniform(random) * 40.0;
                const double expected = kernel_index(pmf, support, age, 30.0, cached, cost);
                CHECK(std::abs(curve.index(age, cached).index / expected - 1.0) < 1e-9);
            }
        }
    }
}

// Linear in operations: a bin is swallowed once or never, whatever the row.
void building_is_linear() {
    for (std::size_t bins : {100, 1000, 10000}) {
        IndexCurve curve(steps(bins), {1.0, 1.0, 0.0});
        Doubles rising(bins), falling(bins), one(bins, 0.0);
        for (std::size_t k = 0; k < bins; ++k) {
            rising[k] = static_cast<double>(k + 1);
            falling[k] = std::pow(static_cast<double>(k + 1), -4.0);
        }
        one[bins / 2] = 1.0;
        for (const Doubles& pmf : {rising, falling}) {
            curve.assign(pmf.data(), 5.0);
            CHECK(curve.merges() < bins);
        }
        curve.assign(one.data(), 5.0);  // with a continuation
        CHECK(curve.merges() < 2 * bins);
    }
}

// The hull of a power law has a corner at every fourth bin at least: without jumps a
// large offset would walk them all.
void queries_are_logarithmic() {
    for (std::size_t bins : {1000, 100000}) {
        IndexCurve curve(steps(bins), {1.0, 0.0, 1.0});
        Doubles pmf(bins);
        const auto survival = [](std::size_t k) { return 1.0 / std::sqrt(static_cast<double>(k)); };
        for (std::size_t k = 0; k < bins; ++k) pmf[k] = survival(k + 1) - survival(k + 2);
        pmf.back() = survival(bins);
        curve.assign(pmf.data(), 1e9);
        CHECK(4 * curve.merges() <= 3 * bins);
        const double log = std::log2(static_cast<double>(bins));
        std::size_t most = 0;
        double last_stop = 0.0;
        for (double offset = 0.25; offset < 1e9; offset *= 1.5) {
            const auto answer = curve.index(0.0, 1e9 - offset);
            most = std::max(most, answer.visited);
            CHECK(answer.stop >= last_stop);  // the dearer the start, the longer it is worth it
            last_stop = answer.stop;
        }
        CHECK(static_cast<double>(most) <= 3.0 * log);
        CHECK(last_stop > 0.9 * static_cast<double>(bins));
    }
}

void bad_input() {
    using Error = std::invalid_argument;
    const Doubles support{1, 2};
    IndexCurve curve(support, {});
    const double good[] = {1, 1}, bad[] = {1, -1};
    CHECK(throws_with<Error>("column 1 is -1", [&] { curve.assign(bad, 0); }));
    CHECK(throws_with<Error>("prompt_len", [&] { curve.assign(good, -1); }));
    curve.assign(good, 0);
    CHECK(throws_with<Error>("age", [&] { curve.index(std::nan(""), 0); }));
    CHECK(throws_with<Error>("cached_len", [&] { curve.index(0, -1); }));
    CHECK(throws_with<Error>("column 1", [] { IndexCurve({2, 2}, {}); }));
    CHECK(throws_with<Error>("all coefficients", [] { IndexCurve({1, 2}, {0, 0, 0}); }));
}

}  // namespace

int main() {
    agrees_with_the_kernel();
    building_is_linear();
    queries_are_logarithmic();
    bad_input();
    return failures != 0;
}
