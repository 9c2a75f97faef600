#pragma once

#include <cstddef>

namespace sagesched {

// The sum of values[count] on the level in force, in any order: what reading that memory costs at
// least, and so the yardstick of bench/. Throws like simd_level().
template <class T>
T read_floor(const T* values, std::size_t count);

}  // namespace sagesched
