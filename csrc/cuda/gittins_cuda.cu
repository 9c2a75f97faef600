// Built by nvcc for devices, and by the host's compiler for a test that runs it there
// (tests/cpp/cuda_on_host).
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "gittins_cuda.h"
#include "gittins_thread.h"
#include "sagesched/check.h"

namespace sagesched {
namespace {

// Small: 1,024 requests are to occupy more than a few multiprocessors.
constexpr unsigned block_rows = 64;

template <class T, bool want_stop>
__global__ void __launch_bounds__(block_rows) index_kernel(const DeviceBatch<T> batch) {
    const std::size_t row = std::size_t{blockIdx.x} * block_rows + threadIdx.x;
    if (row < batch.rows) index_of_request<T, want_stop>(batch, row);
}

// What lies on the device is checked there; a number of the host can be refused here.
void check_constant(const char* name, const TokenCounts& counts) {
    if (counts.type == NumberType::constant) check_tokens(name, counts.constant);
}

void check(cudaError_t error) {
    if (error != cudaSuccess)
        throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

// Makes a device the current one of this thread, for as long as this object lives.
class CurrentDevice {
  public:
    explicit CurrentDevice(int device) {
        check(cudaGetDevice(&before_));
        changed_ = before_ != device;
        if (changed_) check(cudaSetDevice(device));
    }
    ~CurrentDevice() {
        if (changed_) cudaSetDevice(before_);
    }
    CurrentDevice(const CurrentDevice&) = delete;
    CurrentDevice& operator=(const CurrentDevice&) = delete;

  private:
    int before_ = 0;
    bool changed_ = false;
};

}  // namespace

template <class T>
void gittins_index_on_device(const DeviceBatch<T>& batch, int device, void* stream) {
    check_cost_model(batch.cost);
    check_constant("age", batch.age);
    check_constant("prompt_len", batch.prompt_len);
    check_constant("cached_len", batch.cached_len);
    if (batch.bins == 0)
        throw std::invalid_argument("support is empty; it needs at least one bin edge");
    if (batch.rows == 0) return;
    const CurrentDevice current(device);
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>((batch.rows + block_rows - 1) / block_rows));
    config.blockDim = dim3(block_rows);
    config.stream = static_cast<cudaStream_t>(stream);
    const auto kernel = batch.stop != nullptr ? index_kernel<T, true> : index_kernel<T, false>;
    check(cudaLaunchKernelEx(&config, kernel, batch));
}

template void gittins_index_on_device(const DeviceBatch<float>&, int, void*);
template void gittins_index_on_device(const DeviceBatch<double>&, int, void*);

}  // namespace sagesched
