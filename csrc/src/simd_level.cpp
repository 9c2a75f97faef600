#include "sagesched/simd_level.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "gittins_levels.h"

namespace sagesched {
namespace {

constexpr const char* variable = "SAGESCHED_SIMD";

bool always() { return true; }

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2"); }

bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}
#endif

struct Candidate {
    const Level& level;
    bool (*runs_here)();
};

// Slowest first.
const Candidate candidates[] = {
    {scalar_level, always},
#if defined(__x86_64__)
    {avx2_level, has_avx2},
    {avx512_level, has_avx512},
#elif defined(__aarch64__)
    {neon_level, always},
#endif
};

std::atomic<const Level*> active{nullptr};

const Level& level_named(const std::string& name, const char* asked_by) {
    std::string available;
    for (const Candidate& candidate : candidates) {
        if (!candidate.runs_here()) continue;
        if (name == candidate.level.name) return candidate.level;
        available += std::string(available.empty() ? "" : ", ") + candidate.level.name;
    }
    throw std::invalid_argument(std::string(asked_by) + " is \"" + name +
                                "\"; this machine can run: " + available);
}

}  // namespace

std::vector<std::string> simd_levels() {
    std::vector<std::string> names;
    for (const Candidate& candidate : candidates)
        if (candidate.runs_here()) names.emplace_back(candidate.level.name);
    return names;
}

const Level& active_level() {
    const Level* level = active.load(std::memory_order_relaxed);
    if (level == nullptr) {
        const char* asked = std::getenv(variable);
        const bool free_choice = asked == nullptr || *asked == '\0';
        const std::string name = free_choice ? simd_levels().back() : asked;
        level = &level_named(name, variable);
        active.store(level, std::memory_order_relaxed);
    }
    return *level;
}

std::string simd_level() { return active_level().name; }

void set_simd_level(const std::string& name) {
    active.store(&level_named(name, "SIMD level"), std::memory_order_relaxed);
}

}  // namespace sagesched
