#pragma once

#include <string>
#include <vector>

namespace sagesched {

// The instruction set the index kernel runs on: "scalar", "avx2", "avx512" or "neon". All of them
// give the same bits. The best one is taken, unless the environment variable SAGESCHED_SIMD names
// another; it is read once, at the first use.

// Levels that this machine can run, slowest first.
std::vector<std::string> simd_levels();

// The level in force. Throws std::invalid_argument if SAGESCHED_SIMD names one that is unknown or
// that this machine cannot run; the message lists those it can.
std::string simd_level();

// For tests and benchmarks; throws like simd_level(). Calls already under way keep their level.
void set_simd_level(const std::string& name);

}  // namespace sagesched
