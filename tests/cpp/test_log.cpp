#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "check_that.h"
#include "log.h"

using sagesched::natural_log;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

bool close(double value) {
    const long double exact = std::log(static_cast<long double>(value));
    return std::abs(natural_log(value) - exact) <= 1e-15L * std::abs(exact);
}

void against_libm() {
    CHECK(natural_log(1.0) == 0.0);
    CHECK(natural_log(2.0) == std::log(2.0));
    std::mt19937_64 random(1);
    std::uniform_real_distribution<double> exponent(-1021, 1023), mantissa(1, 2), near(0.5, 2);
    bool all = true;
    for (int i = 0; i < 300'000; ++i) {
        all = all && close(std::ldexp(mantissa(random), static_cast<int>(exponent(random))));
        all = all && close(near(random));
    }
    CHECK(all);
    for (const double edge : {std::sqrt(0.5), std::sqrt(2.0), 1.0, 0.5, 2.0, 1e300, 2.3e-308})
        for (const double value : {std::nextafter(edge, 0.0), edge, std::nextafter(edge, 1e308)})
            CHECK(close(value));
}

// Every float of an interval against the next one.
bool increases_over_floats(float first, float last) {
    double previous = natural_log(first);
    for (float value = std::nextafter(first, infinity); value < last;
         value = std::nextafter(value, infinity)) {
        const double log = natural_log(value);
        if (!(log > previous)) return false;
        previous = log;
    }
    return true;
}

void strictly_increasing_over_floats() {
    CHECK(increases_over_floats(0.70f, 0.72f));  // where the mantissa's range turns over
    CHECK(increases_over_floats(0.99f, 1.01f));
    CHECK(increases_over_floats(1.41f, 1.42f));
    CHECK(increases_over_floats(1e30f, 1.01e30f));
    std::mt19937 random(2);
    std::uniform_real_distribution<float> exponent(-125, 127), mantissa(1, 2);
    bool all = true;
    for (int i = 0; i < 300'000; ++i) {
        const float value = std::ldexp(mantissa(random), static_cast<int>(exponent(random)));
        all = all && natural_log(value) < natural_log(std::nextafter(value, infinity));
    }
    CHECK(all);
}

void many_at_once() {
    const std::vector<float> values{std::numeric_limits<float>::min(), 0.5f, 1.0f, 3.0f,
                                    std::numeric_limits<float>::max()};
    std::vector<double> logs(values.size());
    natural_log(values.data(), values.size(), logs.data());
    for (std::size_t i = 0; i < values.size(); ++i)
        CHECK(logs[i] == natural_log(static_cast<double>(values[i])));
}

// Bits that must come out on every machine.
void fixed_bits() {
    CHECK(natural_log(3.0) == 0x1.193ea7aad030bp+0);
    CHECK(natural_log(0.1) == -0x1.26bb1bbb55515p+1);
    CHECK(natural_log(123456.789) == 0x1.77281cad8a844p+3);
}

}  // namespace

int main() {
    against_libm();
    strictly_increasing_over_floats();
    many_at_once();
    fixed_bits();
    return failures != 0;
}
