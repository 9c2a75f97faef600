#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "check_that.h"
#include "sagesched/exact_sum.h"

using sagesched::exact_dot;
using sagesched::exact_sum;

namespace {

void order_does_not_matter() {
    std::mt19937_64 random(1);
    std::uniform_real_distribution<double> mantissa(-1, 1);
    std::uniform_int_distribution<int> exponent(-60, 60);
    bool all = true;
    for (int i = 0; i < 2'000; ++i) {
        std::vector<double> values;
        for (int k = 0; k < 100; ++k)
            values.push_back(std::ldexp(mantissa(random), exponent(random)));
        const double sum = exact_sum(values.data(), values.size());
        std::shuffle(values.begin(), values.end(), random);
        all = all && sum == exact_sum(values.data(), values.size());
    }
    CHECK(all);
}

void rounded_once() {
    const double near[] = {1e16, 1.0, -1e16};
    CHECK(exact_sum(near, 3) == 1.0);
    const double above_half[] = {0x1p53, 1.0, 0x1p-60}, below_half[] = {0x1p53, 1.0, -0x1p-60};
    CHECK(exact_sum(above_half, 3) == 0x1p53 + 2.0);
    CHECK(exact_sum(below_half, 3) == 0x1p53);
    CHECK(exact_sum(near, 0) == 0.0);
}

void of_products() {
    const double a[] = {0.1, 0.2, 0.3}, b[] = {3.0, 5.0, 7.0};
    const double products[] = {0.1 * 3.0, 0.2 * 5.0, 0.3 * 7.0};
    CHECK(exact_dot(a, b, 3) == exact_sum(products, 3));
}

}  // namespace

int main() {
    order_does_not_matter();
    rounded_once();
    of_products();
    return failures != 0;
}
