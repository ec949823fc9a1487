// Runs the kernels of the CUDA decoder on the processor, for tests: a thread is a context of its own, blocks run one after another, and a
// thread goes on to others where it waits for its warp or its block. What a device computes in one instruction is computed here from what
// the lanes of the warp put down.

#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>
#include <setjmp.h>
#include <ucontext.h>

#define CUPOLA_EMULATED
#define DEVICE static inline
#define SHARED static

struct Three { unsigned x, y, z; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };

static Three blockIdx, threadIdx;

namespace emulated {

constexpr int MOST_THREADS = 256;
constexpr size_t STACK = 256 << 10;

struct Barrier {
  int arrived = 0;
  unsigned generation = 0;
};

struct Warp {
  Barrier barrier;
  int members = 0;
  uint32_t lanes[32][6];
};

struct State {
  // A context begins with a system call, and goes on without one.
  ucontext_t beginnings[MOST_THREADS];
  jmp_buf scheduler;
  jmp_buf threads[MOST_THREADS];
  bool has_begun[MOST_THREADS];
  std::vector<char> stacks = std::vector<char>(MOST_THREADS * STACK);
  bool is_done[MOST_THREADS];
  Warp warps[MOST_THREADS / 32];
  Barrier block;
  int members;
  int current;
  const std::function<void()> *body;
};

inline State &state() {
  static State *state = new State;
  return *state;
}

inline void yield() {
  State &s = state();
  if (!_setjmp(s.threads[s.current])) _longjmp(s.scheduler, 1);
}

// Waits until all members are here. A member that has ended counts no more.
inline void wait_at(Barrier &barrier, const int &members) {
  unsigned generation = barrier.generation;
  barrier.arrived++;
  while (barrier.generation == generation) {
    if (barrier.arrived >= members) {
      barrier.arrived = 0;
      barrier.generation++;
      return;
    }
    yield();
  }
}

inline Warp &warp() { return state().warps[state().current / 32]; }
inline void wait_for_warp() { wait_at(warp().barrier, warp().members); }

inline void enter() {
  State &s = state();
  (*s.body)();
  s.is_done[s.current] = true;
  s.members--;
  warp().members--;
  _longjmp(s.scheduler, 1);
}

// Runs the current thread up to where it waits.
__attribute__((noinline)) inline void resume() {
  State &s = state();
  if (_setjmp(s.scheduler)) return;
  if (s.has_begun[s.current]) _longjmp(s.threads[s.current], 1);
  s.has_begun[s.current] = true;
  setcontext(&s.beginnings[s.current]);
}

inline void run_block(int threads) {
  State &s = state();
  s.members = threads;
  s.block = Barrier();
  for (Warp &w : s.warps) w.barrier = Barrier(), w.members = 0;
  for (int at = 0; at < threads; at++) {
    s.warps[at / 32].members++;
    s.is_done[at] = s.has_begun[at] = false;
    getcontext(&s.beginnings[at]);
    s.beginnings[at].uc_stack.ss_sp = &s.stacks[at * STACK];
    s.beginnings[at].uc_stack.ss_size = STACK;
    s.beginnings[at].uc_link = nullptr;
    makecontext(&s.beginnings[at], enter, 0);
  }
  while (s.members > 0) {
    for (int at = 0; at < threads; at++) {
      if (s.is_done[at]) continue;
      s.current = at;
      threadIdx = {(unsigned)at, 0, 0};
      resume();
    }
  }
}

inline void run(const unsigned *grid, unsigned threads, const std::function<void()> &body) {
  if (threads > MOST_THREADS) abort();
  state().body = &body;
  for (unsigned z = 0; z < grid[2]; z++)
    for (unsigned y = 0; y < grid[1]; y++)
      for (unsigned x = 0; x < grid[0]; x++) {
        blockIdx = {x, y, z};
        run_block((int)threads);
      }
}

}  // namespace emulated

#define KERNEL(name, most_threads, Arguments)                                                                 \
  static void name##_thread(const Arguments &a);                                                              \
  extern "C" void name(const void *arguments, const unsigned *grid, unsigned threads) {                       \
    emulated::run(grid, threads, [=] { name##_thread(*(const Arguments *)arguments); });                      \
  }                                                                                                           \
  static void name##_thread(const Arguments &a)

DEVICE void wait_for_inputs() {}
DEVICE void let_next_begin() {}

DEVICE float of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

DEVICE uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}

DEVICE uint16_t to_bf16(float x) {
  uint32_t bits = bits_of(x);
  if (x != x) return 0x7fff;
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

DEVICE uint32_t pack_bf16(float low, float high) { return to_bf16(low) | (uint32_t)to_bf16(high) << 16; }

DEVICE float __fadd_rn(float x, float y) { return x + y; }
DEVICE float __fmul_rn(float x, float y) { return x * y; }
DEVICE float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
DEVICE int max(int x, int y) { return x > y ? x : y; }
DEVICE int min(int x, int y) { return x < y ? x : y; }

DEVICE float shuffle_from(float x, int lane) {
  emulated::Warp &warp = emulated::warp();
  warp.lanes[threadIdx.x % 32][0] = bits_of(x);
  emulated::wait_for_warp();
  float other = of_bits(warp.lanes[lane][0]);
  emulated::wait_for_warp();
  return other;
}

DEVICE float shuffle_xor(float x, int lanes) { return shuffle_from(x, (int)(threadIdx.x % 32) ^ lanes); }
DEVICE void block_barrier() { emulated::wait_at(emulated::state().block, emulated::state().members); }
DEVICE void warp_barrier() { emulated::wait_for_warp(); }

DEVICE void multiply_add(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
  emulated::Warp &warp = emulated::warp();
  unsigned lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  uint32_t own[6] = {a0, a1, a2, a3, b0, b1};
  memcpy(warp.lanes[lane], own, sizeof own);
  emulated::wait_for_warp();
  auto half = [](uint32_t pair, unsigned at) { return of_bits(at % 2 ? pair & 0xffff0000u : pair << 16); };
  for (unsigned at = 0; at < 4; at++) {
    unsigned row = at / 2, column = 2 * t + at % 2;
    float sum = 0;
    for (unsigned k = 0; k < 16; k++) {
      const uint32_t *of_a = warp.lanes[4 * g + k % 8 / 2], *of_b = warp.lanes[4 * column + k % 8 / 2];
      sum += half(of_a[row + k / 8 * 2], k) * half(of_b[4 + k / 8], k);
    }
    d[at] += sum;
  }
  emulated::wait_for_warp();
}
