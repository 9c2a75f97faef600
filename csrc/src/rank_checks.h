#pragma once

#include <cstddef>
#include <vector>

#include "sagesched/rank_engine.h"

namespace sagesched {

// Clocks, boosts and weights stay so far from overflow that no sum of them is infinite or NaN.
constexpr double max_clock = 1e300;
constexpr double max_lead = 256.0;  // no ln(index) is that far from another

// Each check throws std::invalid_argument that names what is wrong, where, and its value. The row
// is named where there are several.
void check_requests(const NewRequest* requests, std::size_t count);
void check_changes(const Changes& changes);
void check_index_weight(double value);
void check_index_band(double low, double high);
void check_lead_scale(double value);
void check_slice(std::size_t value);

// Also that edges differ as floats.
void check_rank_support(const std::vector<double>& support);

// Also that the largest index any request could have is a float.
void check_rank_cost(const CostModel& cost);

}  // namespace sagesched
