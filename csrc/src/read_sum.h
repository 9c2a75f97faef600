// A sum as fast as a level can read: enough sums side by side that no addition waits for the one
// before. Included by one thin file per instruction set; the rules of lanes.h hold here too.
#pragma once

#include "lanes.h"

namespace sagesched {
namespace {

template <class T, int width>
T sum_of(const T* values, std::size_t count) {
    using L = Lanes<T, width>;
    constexpr int parts = 8;
    constexpr std::size_t at_once = std::size_t{parts} * width;
    typename L::Value sum[parts] = {};
    std::size_t i = 0;
    for (; i + at_once <= count; i += at_once)
        for (int part = 0; part < parts; ++part)
            sum[part] = sum[part] + L::load(values + i + part * width);
    T total = 0;
    for (; i < count; ++i) total += values[i];
    T lanes[width];
    for (int part = 0; part < parts; ++part) {
        L::store(lanes, sum[part]);
        for (int lane = 0; lane < width; ++lane) total += lanes[lane];
    }
    return total;
}

}  // namespace
}  // namespace sagesched
