#include "sagesched/nearest.h"

#include "arrays.h"

namespace {

// Of exactly this type: rows are a whole history, which no call may copy.
using Rows = py::array_t<float, py::array::c_style>;
using Codes = py::array_t<std::int16_t, py::array::c_style>;

Rows unit_rows(const Doubles& rows) {
    if (rows.ndim() != 2) reject_shape("rows", rows, "two dimensions");
    Rows units({rows.shape(0), rows.shape(1)});
    for (py::ssize_t i = 0; i < rows.shape(0); ++i)
        sagesched::scale_to_unit(rows.data() + i * rows.shape(1),
                                 static_cast<std::size_t>(rows.shape(1)),
                                 units.mutable_data() + i * rows.shape(1));
    return units;
}

Codes code_units(const Rows& vector) {
    if (vector.ndim() != 1) reject_shape("vector", vector, "one dimension");
    Codes codes(vector.size());
    sagesched::code_units(vector.data(), static_cast<std::size_t>(vector.size()),
                          codes.mutable_data());
    return codes;
}

py::tuple nearest(const Rows& query, const Rows& rows, const Codes& codes, py::ssize_t k) {
    if (rows.ndim() != 2) reject_shape("rows", rows, "two dimensions");
    const py::ssize_t count = rows.shape(0), dim = rows.shape(1);
    if (codes.ndim() != 2 || codes.shape(0) != count || codes.shape(1) != dim)
        reject_shape("codes", codes, "that of rows");
    if (query.ndim() != 1 || query.size() != dim)
        reject_shape("query", query, "(" + std::to_string(dim) + ",)");
    if (k < 0) throw py::value_error("k is " + std::to_string(k) + "; it must be >= 0");
    const auto found = sagesched::nearest(
        {rows.data(), codes.data(), static_cast<std::size_t>(count), static_cast<std::size_t>(dim)},
        query.data(), static_cast<std::size_t>(k));
    py::array_t<float> cosine(static_cast<py::ssize_t>(found.size()));
    Handles slots(cosine.size());
    for (py::ssize_t i = 0; i < cosine.size(); ++i) {
        cosine.mutable_data()[i] = found[static_cast<std::size_t>(i)].cosine;
        slots.mutable_data()[i] = static_cast<std::int64_t>(found[static_cast<std::size_t>(i)].row);
    }
    return py::make_tuple(cosine, slots);
}

}  // namespace

void bind_nearest(py::module_& module) {
    module.def("unit_rows", &unit_rows, py::arg("rows"));
    module.def("code_units", &code_units, py::arg("vector").noconvert());
    module.def("nearest", &nearest, py::arg("query").noconvert(), py::arg("rows").noconvert(),
               py::arg("codes").noconvert(), py::arg("k"));
}
