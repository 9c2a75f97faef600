#pragma once

#include <cstddef>

namespace sagesched {

// Natural logarithm with the same bits on every machine; std::log differs between C libraries.
// The value must be finite, normal and > 0. It is made of additions, multiplications, one division
// and bit operations in a fixed order, and log.cpp is built without fused operations. Relative
// error below 1e-15. Strictly increasing over the float values: neighbours are 6e-8 apart in the
// logarithm, where its error is 3e-14 at most.
double natural_log(double value);
void natural_log(const float* values, std::size_t count, double* out);

}  // namespace sagesched
