#pragma once

namespace sagesched {

// Bounds that keep every index finite: costs stay below 1e30 * (2^40)^2, far from overflow.
constexpr double max_tokens = 1099511627776.0;  // 2^40
constexpr double max_coefficient = 1e30;

}  // namespace sagesched
