// State of the process and of its threads: generators, autocast, determinism, devices, streams.
#include "guard.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Generator.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace {

at::Device device_of(int32_t index) {
  return index < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
}

at::DeviceType type_of(uint8_t on_cuda) { return on_cuda ? at::kCUDA : at::kCPU; }

c10::impl::VirtualGuardImpl cuda() { return c10::impl::VirtualGuardImpl(at::kCUDA); }

}  // namespace

extern "C" {

char* cupola_rng_get(int32_t device, uint8_t** bytes, size_t* count) {
  return guarded([&] {
    at::Generator generator = at::globalContext().defaultGenerator(device_of(device));
    at::Tensor state;
    {
      std::lock_guard<std::mutex> lock(generator.mutex());
      state = generator.get_state();
    }
    *count = static_cast<size_t>(state.numel());
    *bytes = static_cast<uint8_t*>(std::malloc(*count));
    TORCH_CHECK(*bytes != nullptr, "no memory for the generator's state");
    std::memcpy(*bytes, state.const_data_ptr(), *count);
  });
}

char* cupola_rng_set(int32_t device, const uint8_t* bytes, size_t count) {
  return guarded([&] {
    at::Tensor state = at::empty({static_cast<int64_t>(count)}, at::TensorOptions().dtype(at::kByte));
    std::memcpy(state.mutable_data_ptr(), bytes, count);
    at::Generator generator = at::globalContext().defaultGenerator(device_of(device));
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(state);
  });
}

// Whether this thread records operations for backward; returns what it was.
uint8_t cupola_set_grad_mode(uint8_t on) {
  const bool before = at::GradMode::is_enabled();
  at::GradMode::set_enabled(on);
  return before;
}

uint8_t cupola_grad_mode() { return at::GradMode::is_enabled(); }

// The autocast of this thread for one kind of device.
struct AutocastFields {
  int32_t kind;
  uint8_t enabled, cached;
};

char* cupola_autocast_get(uint8_t on_cuda, AutocastFields* fields) {
  return guarded([&] {
    fields->kind = static_cast<int32_t>(at::autocast::get_autocast_dtype(type_of(on_cuda)));
    fields->enabled = at::autocast::is_autocast_enabled(type_of(on_cuda));
    fields->cached = at::autocast::is_autocast_cache_enabled();
  });
}

char* cupola_autocast_set(uint8_t on_cuda, const AutocastFields* fields) {
  return guarded([&] {
    at::autocast::set_autocast_dtype(type_of(on_cuda), static_cast<at::ScalarType>(fields->kind));
    at::autocast::set_autocast_enabled(type_of(on_cuda), fields->enabled);
    at::autocast::set_autocast_cache_enabled(fields->cached);
  });
}

char* cupola_autocast_enter() {
  return guarded([] { at::autocast::increment_nesting(); });
}

// Weights that were cast live as long as the outermost scope.
char* cupola_autocast_leave() {
  return guarded([] {
    if (at::autocast::decrement_nesting() == 0) {
      at::autocast::clear_cache();
    }
  });
}

char* cupola_set_deterministic(uint8_t on) {
  return guarded([&] {
    auto& context = at::globalContext();
    context.setDeterministicAlgorithms(on, /*warn_only=*/false);
    context.setDeterministicCuDNN(on);
    context.setDeterministicMkldnn(on);
    context.setBenchmarkCuDNN(false);
  });
}

uint8_t cupola_is_deterministic() { return at::globalContext().deterministicAlgorithms(); }

char* cupola_set_tf32(uint8_t allowed) {
  return guarded([&] {
    auto& context = at::globalContext();
    context.setFloat32MatmulPrecision(allowed ? "high" : "highest");
    context.setAllowTF32CuDNN(allowed);
  });
}

uint8_t cupola_tf32_allowed() {
  const auto& context = at::globalContext();
  return context.float32MatmulPrecision() != at::Float32MatmulPrecision::HIGHEST || context.allowTF32CuDNN();
}

struct MemoryFields {
  uint64_t free, total, allocated, peak_allocated, reserved, peak_reserved;
};

char* cupola_cuda_memory(int32_t device, MemoryFields* fields) {
  return guarded([&] {
    at::globalContext().lazyInitDevice(at::kCUDA);
    const auto index = static_cast<c10::DeviceIndex>(device);
    auto* allocator = c10::getDeviceAllocator(at::kCUDA);
    const auto room = allocator->getMemoryInfo(index);
    const auto stats = allocator->getDeviceStats(index);
    const auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    fields->free = room.first;
    fields->total = room.second;
    fields->allocated = static_cast<uint64_t>(stats.allocated_bytes[all].current);
    fields->peak_allocated = static_cast<uint64_t>(stats.allocated_bytes[all].peak);
    fields->reserved = static_cast<uint64_t>(stats.reserved_bytes[all].current);
    fields->peak_reserved = static_cast<uint64_t>(stats.reserved_bytes[all].peak);
  });
}

char* cupola_cuda_reset_peak(int32_t device) {
  return guarded([&] {
    at::globalContext().lazyInitDevice(at::kCUDA);
    c10::getDeviceAllocator(at::kCUDA)->resetPeakStats(static_cast<c10::DeviceIndex>(device));
  });
}

char* cupola_cuda_synchronize(int32_t device) {
  return guarded([&] { cuda().synchronizeDevice(static_cast<c10::DeviceIndex>(device)); });
}

char* cupola_cuda_set_device(int32_t device) {
  return guarded([&] {
    at::globalContext().lazyInitDevice(at::kCUDA);
    cuda().setDevice(device_of(device));
  });
}

// A stream of its own for communication, out of torch's pool.
char* cupola_stream_new(int32_t device, c10::Stream** stream, void** handle) {
  return guarded([&] {
    at::globalContext().lazyInitDevice(at::kCUDA);
    const c10::Stream taken = cuda().getStreamFromGlobalPool(device_of(device), /*isHighPriority=*/true);
    *handle = cuda().getStreamNativeHandle(taken);
    *stream = new c10::Stream(taken);
  });
}

void cupola_stream_free(c10::Stream* stream) { delete stream; }

// What is enqueued on `stream` from now on runs after what this thread's current stream holds now.
char* cupola_stream_follow(const c10::Stream* stream) {
  return guarded([&] {
    c10::Event reached(at::kCUDA);
    reached.record(cuda().getStream(stream->device()));
    reached.block(*stream);
  });
}

char* cupola_event_record(const c10::Stream* stream, c10::Event** event) {
  return guarded([&] {
    auto recorded = std::make_unique<c10::Event>(at::kCUDA);
    recorded->record(*stream);
    *event = recorded.release();
  });
}

char* cupola_event_query(const c10::Event* event, uint8_t* done) {
  return guarded([&] { *done = event->query(); });
}

// This thread's current stream goes on after the event.
char* cupola_event_block_current(const c10::Event* event) {
  return guarded([&] { event->block(cuda().getStream(event->device())); });
}

void cupola_event_free(c10::Event* event) { delete event; }

}  // extern "C"
