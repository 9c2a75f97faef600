// As much of CUDA's runtime as gittins_cuda.cu uses, on the host: a launch is a loop over grid and
// block. Two devices, which share the memory of the host.
#pragma once

#define __global__
#define __launch_bounds__(threads)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
inline dim3 blockIdx, threadIdx;

enum cudaError_t { cudaSuccess, cudaErrorInvalidDevice };
using cudaStream_t = void*;

inline const char* cudaGetErrorString(cudaError_t) { return "invalid device ordinal"; }

inline int current_device = 0;

inline cudaError_t cudaGetDevice(int* device) {
    *device = current_device;
    return cudaSuccess;
}

inline cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device > 1) return cudaErrorInvalidDevice;
    current_device = device;
    return cudaSuccess;
}

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    cudaStream_t stream;
};

struct Launch {
    int device;
    cudaStream_t stream;
};
inline Launch last_launch;

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
    last_launch = {current_device, config->stream};
    for (blockIdx.x = 0; blockIdx.x < config->gridDim.x; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < config->blockDim.x; ++threadIdx.x) kernel(arguments...);
    return cudaSuccess;
}
