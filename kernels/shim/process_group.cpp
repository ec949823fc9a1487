// c10d: the store at which ranks meet, and Gloo's collectives between CPUs.
#define USE_C10D_GLOO
#include "guard.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

namespace {

using StoreHandle = c10::intrusive_ptr<c10d::TCPStore>;
using GroupHandle = c10::intrusive_ptr<c10d::ProcessGroupGloo>;
using WorkHandle = c10::intrusive_ptr<c10d::Work>;

// c10d's flight recorder, which nobody reads here, adds a group's first operation to its table before it takes the lock: groups that begin in
// several threads at once break the table. Set before main, while there is one thread.
[[maybe_unused]] const int without_flight_recorder = ::setenv("TORCH_FR_BUFFER_SIZE", "0", /*overwrite=*/0);

std::chrono::milliseconds millis(uint64_t count) { return std::chrono::milliseconds(static_cast<int64_t>(count)); }

}  // namespace

extern "C" {

char* cupola_store_open(const char* host, uint16_t port, uint8_t serve, uint64_t timeout_millis, StoreHandle** store) {
  return guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serve;
    options.waitWorkers = false;
    options.timeout = millis(timeout_millis);
    options.useLibUV = false;
    *store = new StoreHandle(c10::make_intrusive<c10d::TCPStore>(host, options));
  });
}

void cupola_store_free(StoreHandle* store) { delete store; }

char* cupola_store_set(StoreHandle* store, const char* key, const uint8_t* bytes, size_t count) {
  return guarded([&] { (*store)->set(key, std::vector<uint8_t>(bytes, bytes + count)); });
}

// Waits for the key.
char* cupola_store_get(StoreHandle* store, const char* key, uint64_t timeout_millis, uint8_t** bytes, size_t* count) {
  return guarded([&] {
    (*store)->wait({key}, millis(timeout_millis));
    const auto value = (*store)->get(key);
    *bytes = static_cast<uint8_t*>(std::malloc(value.size() + 1));
    TORCH_CHECK(*bytes != nullptr, "no memory for a value of the store");
    std::memcpy(*bytes, value.data(), value.size());
    *count = value.size();
  });
}

char* cupola_store_add(StoreHandle* store, const char* key, int64_t amount, int64_t* sum) {
  return guarded([&] { *sum = (*store)->add(key, amount); });
}

char* cupola_store_has(StoreHandle* store, const char* key, uint8_t* found) {
  return guarded([&] { *found = (*store)->check({key}); });
}

// `host` is the name or address that this rank listens at; null asks GLOO_SOCKET_IFNAME and then the machine's name.
char* cupola_gloo_open(StoreHandle* store, const char* prefix, int32_t rank, int32_t world_size, uint64_t timeout_millis, const char* host,
                       GroupHandle** group) {
  return guarded([&] {
    c10::intrusive_ptr<c10d::ProcessGroupGloo::Options> options;
    if (host == nullptr) {
      options = c10d::ProcessGroupGloo::Options::create_default(millis(timeout_millis));
    } else {
      options = c10d::ProcessGroupGloo::Options::create(millis(timeout_millis));
      options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(host, /*lazyInit=*/false));
    }
    auto own = c10::make_intrusive<c10d::PrefixStore>(prefix, *store);
    *group = new GroupHandle(c10::make_intrusive<c10d::ProcessGroupGloo>(own, rank, world_size, options));
  });
}

void cupola_gloo_free(GroupHandle* group) { delete group; }

char* cupola_gloo_all_reduce(GroupHandle* group, TensorPointer tensor, uint8_t maximum, WorkHandle** work) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> tensors{*tensor};
    c10d::AllreduceOptions options;
    options.reduceOp = maximum ? c10d::ReduceOp::MAX : c10d::ReduceOp::SUM;
    *work = new WorkHandle((*group)->allreduce(tensors, options));
  });
}

char* cupola_gloo_all_gather(GroupHandle* group, TensorPointers outputs, size_t count, TensorPointer input, WorkHandle** work) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    std::vector<std::vector<at::Tensor>> gathered{list_of(outputs, count)};
    std::vector<at::Tensor> inputs{*input};
    *work = new WorkHandle((*group)->allgather(gathered, inputs));
  });
}

char* cupola_gloo_broadcast(GroupHandle* group, TensorPointer tensor, int32_t root, WorkHandle** work) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> tensors{*tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    *work = new WorkHandle((*group)->broadcast(tensors, options));
  });
}

uint8_t cupola_work_done(WorkHandle* work) { return (*work)->isCompleted(); }

char* cupola_work_wait(WorkHandle* work, uint64_t timeout_millis) {
  return guarded([&] { TORCH_CHECK((*work)->wait(millis(timeout_millis)), "aborted"); });
}

void cupola_work_free(WorkHandle* work) { delete work; }

}  // extern "C"
