// The numbers a Job is given beside its arrays: the unit of cost, the limits of the kernel, and
// what a request's token counts become. The rules of lanes.h hold here too.
#pragma once

#include "gittins_levels.h"
#include "gittins_row.h"
#include "lanes.h"
#include "sagesched/cost_model.h"

namespace sagesched {
namespace {

// 2^exponent for an exponent from -1022 to 1023.
SAGESCHED_DEVICE double power_of_two(int exponent) {
    return Lanes<double, 1>::value(static_cast<std::uint64_t>(exponent + 1023) << 52);
}

// value * 2^exponent, rounded at most once: upwards in two exact steps, for exponents up to 2046.
SAGESCHED_DEVICE double scaled(double value, int exponent) {
    const int first = exponent > 0 ? exponent / 2 : 0;
    return value * power_of_two(first) * power_of_two(exponent - first);
}

// The least e with value < 2^e; the value is finite and > 0.
SAGESCHED_DEVICE int exponent_above(double value) {
    const int raised = value < least_normal<double>() ? 54 : 0;
    return static_cast<int>(Lanes<double, 1>::bits(scaled(value, raised)) >> 52) - 1022 - raised;
}

// A power of two as the unit changes no digit of the result. The dearest request that an edge and a
// prompt allow costs less than 1 in it, and not far less.
template <class T>
SAGESCHED_DEVICE void set_costs(const CostModel& cost, double prompt, double edge, Job<T>& job) {
    const double dearest =
        edge * (cost.token + cost.memory * (prompt + 0.5 * edge)) + cost.prefill * prompt;
    const int exponent = dearest > 0.0 ? exponent_above(dearest) : 0;
    job.token = scaled(cost.token, -exponent);
    job.memory = scaled(cost.memory, -exponent);
    job.prefill = scaled(cost.prefill, -exponent);
    job.half_memory = static_cast<T>(0.5 * job.memory);
    job.unit_root[0] = static_cast<T>(power_of_two(exponent / 2));
    job.unit_root[1] = static_cast<T>(power_of_two(exponent - exponent / 2));
}

// A coefficient that T cannot hold with all its digits is left to double altogether.
template <class T>
SAGESCHED_DEVICE bool costs_are_exact(const Job<T>& job) {
    return job.memory == 0.0 || job.half_memory >= least_normal<T>();
}

template <class T>
SAGESCHED_DEVICE T slope_of(const Job<T>& job, double prompt_len) {
    return static_cast<T>(job.token + job.memory * prompt_len);
}

template <class T>
SAGESCHED_DEVICE T offset_of(const Job<T>& job, double prompt_len, double cached_len) {
    return static_cast<T>(job.prefill * (prompt_len - smaller(prompt_len, cached_len)));
}

// The kernel compares doubles by their high halves: the low half of the limit is all ones.
SAGESCHED_DEVICE double with_full_low_half(double limit) {
    return Lanes<double, 1>::value(Lanes<double, 1>::bits(limit) | 0xffffffffu);
}

SAGESCHED_DEVICE float with_full_low_half(float limit) { return limit; }

template <class T>
SAGESCHED_DEVICE void set_limits(Job<T>& job) {
    const auto bins = static_cast<double>(job.bins);
    job.mass_limit = with_full_low_half(static_cast<T>(0x1p30 / bins));
    // Well above overrun_share; the careful code applies that one exactly.
    job.live_share = static_cast<T>(4.0 * overrun_share * bins);
}

}  // namespace
}  // namespace sagesched
