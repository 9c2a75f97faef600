#pragma once

#include <cstddef>

namespace sagesched {

// The sum, rounded once: the same bits on every machine, in whatever order (Shewchuk, 1997;
// Python's math.fsum). Where a value is not finite, or a sum overflows, the plain sum.
double exact_sum(const double* values, std::size_t count);

// The same of the products, each rounded as a double is.
double exact_dot(const double* a, const double* b, std::size_t count);

}  // namespace sagesched
