#include "sagesched/curve.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "gittins_row.h"
#include "sagesched/check.h"

namespace sagesched {

IndexCurve::IndexCurve(std::vector<double> support, const CostModel& cost)
    : edge_(std::move(support)), cost_(cost) {
    check_support(edge_.data(), edge_.size());
    check_cost_model(cost_);
    for (Law* law : {&law_, &continuation_}) {
        law->survival.resize(bins() + 1);
        law->mass.resize(bins());
        law->block.resize(bins() + 1);
    }
}

void IndexCurve::assign(const double* pmf, double prompt_len) {
    check_tokens("prompt_len", prompt_len);
    check_pmf(pmf, 1, bins());
    prompt_len_ = prompt_len;
    // A power of two as the unit changes no digit; it keeps costs times masses within range.
    const double dearest = RemainingCost(cost_, 0.0, prompt_len, 0.0)(edge_.back());
    unit_ = dearest > 0.0 ? std::ldexp(1.0, std::ilogb(dearest)) : 1.0;
    slope_ = (cost_.token + cost_.memory * prompt_len) / unit_;
    half_memory_ = 0.5 * cost_.memory / unit_;
    set_law(pmf);
    build(law_);
    continuation_.merges = 0;
    if (law_.survival[bins() - 1] > least_) return;  // no age outlives it before the last edge
    set_continuation();
    build(continuation_);
}

IndexCurve::Answer IndexCurve::index(double age, double cached_len) const {
    check_tokens("age", age);
    check_tokens("cached_len", cached_len);
    const auto bin = std::upper_bound(edge_.begin(), edge_.end(), age) - edge_.begin();
    return from_bin(static_cast<std::size_t>(bin), age, offset(cached_len));
}

void IndexCurve::all_ages(double cached_len, double* out) const {
    check_tokens("cached_len", cached_len);
    const double to_pay = offset(cached_len);
    for (std::size_t bin = 0; bin <= bins(); ++bin) {
        if (to_pay > 0.0 || bin == bins()) {
            out[bin] = from_bin(bin, bin > 0 ? edge_[bin - 1] : 0.0, to_pay).index;
            continue;
        }
        // Without an offset the path begins with the bin's own block, which is the tangent.
        const Block& block = law_at(bin).block[bin];
        out[bin] = finished(block.cost / block.mass, 0.0, 0).index;
    }
}

double IndexCurve::cost_between(double low, double high) const {
    return (high - low) * (slope_ + half_memory_ * (high + low));
}

double IndexCurve::offset(double cached_len) const {
    return cost_.prefill / unit_ * (prompt_len_ - std::min(cached_len, prompt_len_));
}

// Scaled to a total of about 1, which changes no digit of a ratio.
void IndexCurve::set_law(const double* pmf) {
    double total = 0.0;
    for (std::size_t k = bins(); k-- > 0;) total += pmf[k];
    const double smallest = std::numeric_limits<double>::min();
    const double scale = total >= smallest ? std::ldexp(1.0, -std::ilogb(total)) : 0.0;
    least_ = std::max(overrun_share * total, smallest) * scale;
    law_.survival[bins()] = 0.0;
    for (std::size_t k = bins(); k-- > 0;) {
        law_.mass[k] = pmf[k] * scale;
        law_.survival[k] = law_.survival[k + 1] + law_.mass[k];
    }
}

void IndexCurve::set_continuation() {
    double before = 1.0;
    for (std::size_t k = 0; k < bins(); ++k) {
        const double after = k + 1 == bins() ? 0.0 : continuation_survival(edge_[k]);
        continuation_.survival[k] = before;
        continuation_.mass[k] = before - after;
        before = after;
    }
    continuation_.survival[bins()] = 0.0;
}

void IndexCurve::build(Law& law) {
    law.end = static_cast<std::uint32_t>(bins());
    while (law.end > 0 && law.survival[law.end - 1] == 0.0) --law.end;
    law.merges = 0;
    law.block[law.end] = Block{0.0, 0.0, 0.0, 0.0, law.end, law.end, 0};
    for (std::uint32_t bin = law.end; bin-- > 0;) law.block[bin] = block_of(law, bin, law.merges);
}

IndexCurve::Block IndexCurve::block_of(const Law& law, std::uint32_t bin,
                                       std::size_t& merges) const {
    Block block{};
    block.cost = cost_between(bin > 0 ? edge_[bin - 1] : 0.0, edge_[bin]) * law.survival[bin];
    block.mass = law.mass[bin];
    block.parent = bin + 1;
    while (block.parent != law.end) {
        const Block& next = law.block[block.parent];
        if (block.mass > 0.0 && next.cost * block.mass >= block.cost * next.mass) break;
        block.cost += next.cost;
        block.mass += next.mass;
        block.parent = next.parent;
        ++merges;
    }
    const Block& parent = law.block[block.parent];
    const Block& landing = law.block[parent.jump];
    block.depth = parent.depth + 1;
    block.jump_cost = block.cost;
    block.jump_mass = block.mass;
    block.jump = block.parent;
    // Two jumps of the same length in a row make one of twice the length and a step.
    if (parent.depth - landing.depth == landing.depth - law.block[landing.jump].depth) {
        block.jump_cost += parent.jump_cost + landing.jump_cost;
        block.jump_mass += parent.jump_mass + landing.jump_mass;
        block.jump = landing.jump;
    }
    return block;
}

// Follows the hull from `bin` on while its blocks are less steep than the path so far. The blocks
// get steeper, so where one is worth taking, so are all before it: it can be jumped to.
IndexCurve::Answer IndexCurve::tangent(const Law& law, std::uint32_t bin, Path path) const {
    std::size_t visited = 0;
    while (bin != law.end) {
        const Block& block = law.block[bin];
        const auto worth_taking = [](const Block& next, const Path& so_far) {
            return next.cost * so_far.mass < so_far.cost * next.mass;
        };
        const Path far{path.cost + block.jump_cost, path.mass + block.jump_mass};
        ++visited;
        if (block.jump != law.end && worth_taking(law.block[block.jump], far)) {
            path = far;
            bin = block.jump;
            continue;
        }
        if (!(path.mass == 0.0 || worth_taking(block, path))) break;
        path.cost += block.cost;
        path.mass += block.mass;
        bin = block.parent;
    }
    return finished(path.cost / path.mass, edge_[bin - 1], visited);
}

IndexCurve::Answer IndexCurve::finished(double index, double stop, std::size_t visited) const {
    // A cost of nothing at all counts as the smallest number: ln(index) must exist.
    return {std::max(index * unit_, std::numeric_limits<double>::min()), stop, visited};
}

const IndexCurve::Law& IndexCurve::law_at(std::size_t bin) const {
    return law_.survival[bin] > least_ ? law_ : continuation_;
}

// `bin` is the first beyond the age, `to_pay` the offset.
IndexCurve::Answer IndexCurve::from_bin(std::size_t bin, double age, double to_pay) const {
    if (bin == bins()) return finished(cost_between(age, 2.0 * age) + to_pay, 2.0 * age, 0);
    const double first = cost_between(age, edge_[bin]) + to_pay;
    const auto next = static_cast<std::uint32_t>(bin + 1);
    const Law& law = law_at(bin);
    if (&law == &law_) return tangent(law, next, {first * law.survival[bin], law.mass[bin]});
    // Between two edges the continuation starts from its survival at the age itself.
    const double left = continuation_survival(age);
    const double later = next == bins() ? 0.0 : continuation_survival(edge_[bin]);
    return tangent(law, next, {first * left, left - later});
}

}  // namespace sagesched
