#include "sagesched/memory_forecast.h"

#include <pybind11/stl.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "made_by_init.h"

using sagesched::MemoryForecast;

namespace {

using Masses = py::array_t<double, py::array::c_style>;

MemoryForecast make(const py::object& edges) {
    const Doubles given = vector_of_doubles("edges", edges);
    std::vector<double> values(given.data(), given.data() + given.size());
    double before = 0.0;
    for (const double edge : values) {
        if (!(edge > before) || !std::isfinite(edge))
            throw py::value_error("edges must ascend from above 0, and be finite");
        before = edge;
    }
    if (values.empty()) throw py::value_error("edges is empty");
    return MemoryForecast(std::move(values));
}

double tokens(const char* name, double value) {
    if (!(value >= 0.0) || !std::isfinite(value))
        throw py::value_error(std::string(name) + " is " + std::to_string(value) +
                              "; it must be at least 0 and finite");
    return value;
}

sagesched::Holder holder_of(const MemoryForecast& forecast, const py::handle& pmf, double age,
                            double freeable) {
    // Without a conversion: the array lives on in the caller's hands.
    if (!py::isinstance<Masses>(pmf)) throw py::type_error("pmf is not an array of float64");
    const auto array = py::reinterpret_borrow<Masses>(pmf);
    if (array.ndim() != 1 || static_cast<std::size_t>(array.size()) != forecast.bins())
        reject_shape("pmf", array, "(" + std::to_string(forecast.bins()) + ",)");
    return {array.data(), tokens("age", age), tokens("freeable", freeable)};
}

void start(MemoryForecast& forecast, const py::list& pmfs, const std::vector<double>& ages,
           const std::vector<double>& freeable) {
    if (pmfs.size() != ages.size() || pmfs.size() != freeable.size())
        throw py::value_error("pmfs, ages and freeable differ in length");
    std::vector<sagesched::Holder> holders;
    holders.reserve(ages.size());
    for (std::size_t i = 0; i < ages.size(); ++i)
        holders.push_back(holder_of(forecast, pmfs[i], ages[i], freeable[i]));
    forecast.clear();
    for (const auto& holder : holders) forecast.add(holder);
}

}  // namespace

void bind_memory_forecast(py::module_& module) {
    py::class_<MemoryForecast>(module, "MemoryForecast")
        .def(py::init(&make), py::arg("edges"))
        .def("start", &start, py::arg("pmfs"), py::arg("ages"), py::arg("freeable"))
        .def(
            "add",
            [](MemoryForecast& forecast, const py::object& pmf, double age, double freeable) {
                forecast.add(holder_of(forecast, pmf, age, freeable));
            },
            py::arg("pmf"), py::arg("age"), py::arg("freeable"))
        .def("peak", &MemoryForecast::peak, py::arg("deviations"))
        .def(
            "peak_with",
            [](MemoryForecast& forecast, const py::object& pmf, double age, double freeable,
               double deviations) {
                return forecast.peak_with(holder_of(forecast, pmf, age, freeable), deviations);
            },
            py::arg("pmf"), py::arg("age"), py::arg("freeable"), py::arg("deviations"));
}
