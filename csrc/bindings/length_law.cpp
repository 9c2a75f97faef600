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

using GivenEvidence = std::tuple<py::object, py::object, Flags, double>;

Doubles length_law(double most, const py::object& prior, double shift, const py::object& at,
                   const std::vector<GivenEvidence>& evidence) {
    const Doubles law = vector_of_doubles("prior", prior);
    const Doubles edges = vector_of_doubles("at", at);
    if (law.size() == 0 || edges.size() == 0) throw py::value_error("prior or at is empty");
    if (!(most > 0.0) || !std::isfinite(shift))
        throw py::value_error("most must be positive and shift finite");
    std::vector<Doubles> kept;  // the arrays that the evidence points into
    std::vector<sagesched::Evidence> found;
    for (const auto& [score, weight, finished, strength] : evidence) {
        if (finished.ndim() != 1) reject_shape("finished", finished, "one dimension");
        const auto& scores = kept.emplace_back(vector_of_doubles("score", score, finished.size()));
        check_finite("score", scores);
        const double* const values = scores.data();
        const auto& weights =
            kept.emplace_back(vector_of_doubles("weight", weight, finished.size()));
        check_finite("weight", weights);
        if (!(strength > 0.0)) throw py::value_error("strength must be positive");
        found.push_back({values, weights.data(), finished.data(),
                         static_cast<std::size_t>(finished.size()), strength});
    }
    Doubles out(edges.size());
    sagesched::length_law({static_cast<std::size_t>(law.size()), most}, law.data(), shift, found,
                          edges.data(), static_cast<std::size_t>(edges.size()), out.mutable_data());
    return out;
}

}  // namespace

void bind_length_law(py::module_& module) {
    module.def("length_law", &length_law, py::arg("most"), py::arg("prior"), py::arg("shift"),
               py::arg("at"), py::arg("evidence"));
}
