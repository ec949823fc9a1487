// What the kernels of the CUDA decoder are written in. Compiled by NVRTC for a device, without headers; by a C++ compiler after emulated.h
// for the processor, where tests run every kernel thread by thread.
//
// Defined by the caller: HEAD_CHUNKS, the width of a head in units of 32, rounded up. FP32 where weights, keys and values are fp32, else bf16.

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifndef CUPOLA_EMULATED
#define DEVICE static __device__ __forceinline__
#define KERNEL(name, threads, Arguments) extern "C" __global__ void __launch_bounds__(threads) name(const Arguments a)
#define SHARED __shared__

// What the kernels before this one wrote is there after it. Before it, a kernel may read only what no kernel writes.
DEVICE void wait_for_inputs() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next kernel may begin up to where it waits for its inputs.
DEVICE void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

DEVICE float of_bits(u32 bits) { return __uint_as_float(bits); }

#ifdef FP32
DEVICE float shuffle_from(float x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
#else
DEVICE u16 to_bf16(float x) {
  u16 bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}

// Two numbers as bf16, the first in the lower half.
DEVICE u32 pack_bf16(float low, float high) {
  u32 bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}

// d [16, 8] += a [16, 16] · b [16, 8] of a warp, in bf16 with fp32 sums. A lane (g = lane / 4, t = lane % 4) holds of a: row g and row g + 8 at
// columns 2t and 2t + 1, then the same at 2t + 8 and 2t + 9; of b: column g at rows 2t, 2t + 1, then 2t + 8, 2t + 9; of d: row g at columns 2t,
// 2t + 1, then row g + 8.
DEVICE void multiply_add(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
#endif

DEVICE float shuffle_xor(float x, int lanes) { return __shfl_xor_sync(0xffffffffu, x, lanes); }
DEVICE void block_barrier() { __syncthreads(); }
DEVICE void warp_barrier() { __syncwarp(); }
#endif

#ifdef FP32
typedef float Element;
DEVICE float load_element(const Element *p) { return *p; }
DEVICE void store_element(Element *p, float x) { *p = x; }
#else
typedef u16 Element;
DEVICE float load_element(const Element *p) { return of_bits((u32)*p << 16); }
DEVICE void store_element(Element *p, float x) { *p = to_bf16(x); }
#endif

// A row of a pass.
struct Row {
  int position;  // in its sequence; -1: nobody's row, which fills up a pass of fixed shape
  int slot;      // where its key and value go: block · 32 + place in the block
  int table;     // where its sequence's table begins in the tables
  int split;     // where its parts of attention are kept; -1: attention is not split
};

#define NEGATIVE_INFINITY of_bits(0xff800000u)
// The largest number that is finite in bf16 too.
#define LARGEST of_bits(0x7f7f0000u)

DEVICE float warp_sum(float x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x = __fadd_rn(x, shuffle_xor(x, lanes));
  return x;
}

// The sum over a block of 256 threads, in one order; all threads get it.
DEVICE float block_sum(float x) {
  SHARED float sums[8];
  x = warp_sum(x);
  block_barrier();
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = x;
  block_barrier();
  float sum = sums[0];
#pragma unroll
  for (int warp = 1; warp < 8; warp++) sum = __fadd_rn(sum, sums[warp]);
  return sum;
}
