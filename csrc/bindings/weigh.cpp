#include "sagesched/weigh.h"

#include <pybind11/stl.h>

#include <tuple>
#include <vector>

#include "arrays.h"

namespace {

template <class T>
using Column = py::array_t<T, py::array::c_style>;
using Numbers = Column<std::int64_t>;

using GivenPast = std::tuple<Column<double>, Column<double>, Column<bool>, Numbers, Column<double>,
                             Column<double>, Numbers>;
using GivenNear = std::tuple<Column<float>, Numbers, double>;

void check_length(const char* name, const py::array& column, py::ssize_t length) {
    if (column.ndim() != 1 || column.size() != length)
        reject_shape(name, column, "(" + std::to_string(length) + ",)");
}

void check_below(const char* name, std::int64_t number, py::ssize_t count) {
    if (number < 0 || number >= count)
        throw py::value_error(std::string(name) + " " + std::to_string(number) + " is not one of " +
                              std::to_string(count));
}

Doubles array_of(const std::vector<double>& values) {
    return Doubles(static_cast<py::ssize_t>(values.size()), values.data());
}

py::tuple weigh(const GivenPast& past, const GivenNear& near,
                const std::tuple<double, double, std::int64_t>& asked,
                const std::tuple<double, double, double, double, double>& weights, bool foreign) {
    const auto& [log_tokens, standing, finished, origin, centre, spread, group] = past;
    check_length("standing", standing, log_tokens.size());
    check_length("finished", finished, log_tokens.size());
    check_length("origin", origin, log_tokens.size());
    check_length("spread", spread, centre.size());
    check_length("group", group, centre.size());
    const auto& [cosine, slots, usual] = near;
    check_length("cosine", cosine, slots.size());
    Column<bool> ended(slots.size());
    for (py::ssize_t i = 0; i < slots.size(); ++i) {
        const std::int64_t slot = slots.data()[i];
        check_below("slot", slot, log_tokens.size());
        check_below("origin", origin.data()[slot], centre.size());
        ended.mutable_data()[i] = finished.data()[slot];
    }
    const auto [own_standing, shift, own_group] = asked;
    const auto [sharpness, trend_window, trend_floor, trend_share, other_group] = weights;
    const auto found =
        sagesched::weigh({log_tokens.data(), standing.data(), finished.data(), origin.data(),
                          centre.data(), spread.data(), group.data()},
                         {cosine.data(), slots.data(), static_cast<std::size_t>(slots.size()),
                          usual, own_standing, shift, own_group},
                         {sharpness, trend_window, trend_floor, trend_share, other_group}, foreign);
    py::object draws = py::none();
    if (found.any_draw) draws = py::make_tuple(array_of(found.plain), array_of(found.draw));
    return py::make_tuple(array_of(found.score), array_of(found.weight), ended, draws);
}

}  // namespace

void bind_weigh(py::module_& module) {
    module.def("weigh", &weigh, py::arg("past"), py::arg("near"), py::arg("asked"),
               py::arg("weights"), py::arg("foreign"));
}
