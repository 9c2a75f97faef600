// The CUDA kernel for Python, which passes addresses: nothing here knows the library whose tensors
// they are. python/sagesched/gittins_cuda.py checks types, shapes, strides and devices.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>

#include "gittins_cuda.h"

namespace py = pybind11;

using sagesched::DeviceBatch;
using sagesched::NumberType;
using sagesched::TokenCounts;

namespace {

// Address of the first element, elements from one to the next: of columns, of rows.
using Matrix = std::tuple<std::uintptr_t, std::size_t>;
using PerRow = std::tuple<std::string, double, std::uintptr_t, std::size_t>;

template <class T>
T* pointer_to(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

NumberType number_type(const std::string& name) {
    if (name == "constant") return NumberType::constant;
    if (name == "float32") return NumberType::float32;
    if (name == "float64") return NumberType::float64;
    if (name == "int32") return NumberType::int32;
    if (name == "int64") return NumberType::int64;
    throw py::value_error("\"" + name + "\" is none of constant, float32, float64, int32, int64");
}

TokenCounts token_counts(const PerRow& values) {
    const auto& [type, constant, address, stride] = values;
    return {number_type(type), constant, pointer_to<const void>(address), stride};
}

struct Call {
    std::size_t rows, bins;
    Matrix pmf, support;
    bool own_support;
    TokenCounts age, prompt_len, cached_len;
    sagesched::CostModel cost;
    std::uintptr_t out, stop;
    int device;
    std::uintptr_t stream;
};

template <class T>
void launch(const Call& call) {
    const DeviceBatch<T> batch{call.rows,
                               call.bins,
                               pointer_to<const T>(std::get<0>(call.pmf)),
                               std::get<1>(call.pmf),
                               pointer_to<const T>(std::get<0>(call.support)),
                               std::get<1>(call.support),
                               call.own_support,
                               call.age,
                               call.prompt_len,
                               call.cached_len,
                               call.cost,
                               pointer_to<T>(call.out),
                               pointer_to<T>(call.stop)};
    sagesched::gittins_index_on_device(batch, call.device, pointer_to<void>(call.stream));
}

void gittins_index(const std::string& dtype, std::size_t rows, std::size_t bins, const Matrix& pmf,
                   const Matrix& support, bool own_support, const PerRow& age,
                   const PerRow& prompt_len, const PerRow& cached_len, double token, double memory,
                   double prefill, std::uintptr_t out, std::uintptr_t stop, int device,
                   std::uintptr_t stream) {
    const Call call{rows,
                    bins,
                    pmf,
                    support,
                    own_support,
                    token_counts(age),
                    token_counts(prompt_len),
                    token_counts(cached_len),
                    {token, memory, prefill},
                    out,
                    stop,
                    device,
                    stream};
    const NumberType type = number_type(dtype);
    if (type != NumberType::float32 && type != NumberType::float64)
        throw py::value_error("dtype is \"" + dtype + "\"; expected float32 or float64");
    const py::gil_scoped_release unlocked;
    type == NumberType::float32 ? launch<float>(call) : launch<double>(call);
}

}  // namespace

PYBIND11_MODULE(_cuda, module) {
    module.doc() = "The index kernel for CUDA devices; use it through sagesched.gittins_cuda.";
    module.def("gittins_index", &gittins_index, py::arg("dtype"), py::arg("rows"), py::arg("bins"),
               py::arg("pmf"), py::arg("support"), py::arg("own_support"), py::arg("age"),
               py::arg("prompt_len"), py::arg("cached_len"), py::arg("token"), py::arg("memory"),
               py::arg("prefill"), py::arg("out"), py::arg("stop"), py::arg("device"),
               py::arg("stream"));
}
