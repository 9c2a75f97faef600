#include "sagesched/weigh.h"

#include <algorithm>
#include <cmath>

namespace sagesched {
namespace {

constexpr double least_gap = 1e-6;  // no division by zero where nothing is nearer than usual
constexpr double same_prompt = 1.0 - 1e-5;  // cosine from which on two prompts are the same one

void make_effective(std::vector<double>& weights) {
    double sum = 0.0, squares = 0.0;
    for (const double weight : weights) {
        sum += weight;
        squares += weight * weight;
    }
    if (!(squares > 0.0)) return;
    for (double& weight : weights) weight *= sum / squares;
}

}  // namespace

Weighed weigh(const PastRequests& past, const Asked& asked, const Weights& weights, bool foreign) {
    const std::size_t k = asked.count;
    const auto same = [&](std::size_t i) { return double{asked.cosine[i]} >= same_prompt; };
    const auto excess = [&](std::size_t i) {
        return std::max(double{asked.cosine[i]} - asked.usual, 0.0);
    };
    double most = least_gap;  // of those that are not the same prompt, which are as near as these
    for (std::size_t i = 0; i < k; ++i)
        if (!same(i)) most = std::max(most, excess(i));

    Weighed out{std::vector<double>(k), std::vector<double>(k), std::vector<double>(k),
                std::vector<double>(k), false};
    for (std::size_t i = 0; i < k; ++i) {
        const auto slot = static_cast<std::size_t>(asked.slots[i]);
        const auto origin = static_cast<std::size_t>(past.origin[slot]);
        const double apart = past.standing[slot] - asked.standing;
        const double far = apart / weights.trend_window;
        const double say = past.group[origin] == asked.group ? 1.0 : weights.other_group;
        out.plain[i] = (past.log_tokens[slot] - past.centre[origin]) / past.spread[origin];
        out.score[i] = out.plain[i] - weights.trend_share * apart + asked.shift;
        if (same(i) && !foreign) {
            out.draw[i] = say;
            out.any_draw = true;
        } else if (past.finished[slot] || !foreign) {
            out.weight[i] = std::pow(std::min(excess(i) / most, 1.0), weights.sharpness) *
                            (std::exp(-0.5 * far * far) + weights.trend_floor) * say;
        }
    }
    make_effective(out.weight);
    return out;
}

}  // namespace sagesched
