#include "sagesched/length_law.h"

#include <pybind11/stl.h>

#include <cmath>
#include <tuple>
#include <vector>

#include "arrays.h"

namespace {

using Flags = py::array_t<bool, py::array::c_style>;

void check_finite(const char* name, const Doubles& values) {
    for (py::ssize_t i = 0; i < values.size(); ++i)
        if (!std::isfinite(values.data()[i]))
            throw py::value_error(std::string(name) + "[" + std::to_string(i) + "] is not finite");
}

Doubles length_law(double most, const py::object& prior, double shift, const py::object& at,
                   const Flags& finished,
                   const std::vector<std::tuple<py::object, py::object, double>>& evidence) {
    const Doubles law = vector_of_doubles("prior", prior);
    const Doubles edges = vector_of_doubles("at", at);
    if (law.size() == 0 || edges.size() == 0 || !(most > 0.0) || !std::isfinite(shift))
        throw py::value_error(
            "length_law: prior and at must not be empty, most positive and shift finite");
    std::vector<Doubles> kept;  // the arrays that the evidence points into
    std::vector<sagesched::Evidence> found;
    for (const auto& [score, weight, strength] : evidence) {
        kept.push_back(vector_of_doubles("score", score, finished.size()));
        kept.push_back(vector_of_doubles("weight", weight, finished.size()));
        const Doubles &scores = kept[kept.size() - 2], &weights = kept.back();
        check_finite("score", scores);
        check_finite("weight", weights);
        if (!(strength > 0.0)) throw py::value_error("strength must be positive");
        found.push_back(
            {scores.data(), weights.data(), static_cast<std::size_t>(finished.size()), strength});
    }
    Doubles out(edges.size());
    sagesched::length_law({static_cast<std::size_t>(law.size()), most}, law.data(), shift, found,
                          finished.data(), edges.data(), static_cast<std::size_t>(edges.size()),
                          out.mutable_data());
    return out;
}

}  // namespace

void bind_length_law(py::module_& module) {
    module.def("length_law", &length_law, py::arg("most"), py::arg("prior"), py::arg("shift"),
               py::arg("at"), py::arg("finished"), py::arg("evidence"));
}
