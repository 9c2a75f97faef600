#include "sagesched/read_floor.h"

#include "gittins_levels.h"

namespace sagesched {

template <>
float read_floor(const float* values, std::size_t count) {
    return active_level().sum_floats(values, count);
}

template <>
double read_floor(const double* values, std::size_t count) {
    return active_level().sum_doubles(values, count);
}

}  // namespace sagesched
