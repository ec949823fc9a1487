// Nodes of the autograd graph whose backward is a Rust callback, the leaves of a graph, and hooks on a leaf's gradient.
#include "guard.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <unordered_set>

#include <ATen/SequenceNumber.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/csrc/autograd/variable.h>

namespace autograd = torch::autograd;
using autograd::variable_list;

namespace {

using Drop = void (*)(void* state);

// Grads and saved tensors pass to the callback (a null grad is undefined); `results` has room for one tensor of each input, which pass back.
using Backward = char* (*)(void* state, TensorPointer* grads, size_t num_grads, TensorPointer* saved, size_t num_saved,
                           const uint8_t* needed, TensorPointer* results, size_t num_results);

using GradientReady = char* (*)(void* state, TensorPointer leaf);

// A Rust value that is dropped with this one.
class State {
 public:
  State(void* state, Drop drop) : state_(state), drop_(drop) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { drop_(state_); }
  void* get() const { return state_; }

 private:
  void* state_;
  Drop drop_;
};

class CallbackNode final : public autograd::Node {
 public:
  CallbackNode(std::string label, void* state, Drop drop, Backward backward)
      : label_(std::move(label)), state_(state, drop), backward_(backward) {}

  std::string name() const override { return label_; }

  void save(const at::Tensor& tensor, bool is_output) { saved_.emplace_back(tensor, is_output); }

  variable_list apply(variable_list&& grads) override {
    std::lock_guard<std::mutex> lock(mutex_);
    TORCH_CHECK(!released_ || saved_.empty(), autograd::ERR_BACKWARD_TWICE);
    std::vector<TensorPointer> given(grads.size(), nullptr);
    std::vector<TensorPointer> kept;
    kept.reserve(saved_.size());
    std::vector<at::Tensor> unpacked;
    unpacked.reserve(saved_.size());
    for (const auto& variable : saved_) {
      unpacked.push_back(variable.unpack(shared_from_this()));
    }
    std::vector<uint8_t> needed(num_outputs());
    for (size_t i = 0; i < needed.size(); ++i) {
      needed[i] = task_should_compute_output(i);
    }
    std::vector<TensorPointer> results(num_outputs(), nullptr);
    // From here nothing throws until the callback owns what it is given.
    for (size_t i = 0; i < grads.size(); ++i) {
      given[i] = grads[i].defined() ? new at::Tensor(std::move(grads[i])) : nullptr;
    }
    for (auto& tensor : unpacked) {
      kept.push_back(new at::Tensor(std::move(tensor)));
    }
    raise(backward_(state_.get(), given.data(), given.size(), kept.data(), kept.size(), needed.data(), results.data(), results.size()));
    variable_list gradients(results.size());
    for (size_t i = 0; i < results.size(); ++i) {
      const std::unique_ptr<at::Tensor> owned(results[i]);
      if (owned != nullptr) {
        gradients[i] = std::move(*owned);
      }
    }
    return gradients;
  }

  void release_variables() override {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto& variable : saved_) {
      variable.reset_data();
    }
    released_ = true;
  }

 private:
  std::string label_;
  State state_;
  Backward backward_;
  std::vector<autograd::SavedVariable> saved_;
  bool released_ = false;
};

// An output that is an input, a view or already in a graph gets a tensor of its own over the same memory, which can carry the new node.
void separate(at::Tensor& output, const variable_list& inputs) {
  const bool is_input = std::any_of(inputs.begin(), inputs.end(), [&](const at::Tensor& input) { return input.is_same(output); });
  if (is_input || output.is_view() || output.requires_grad()) {
    output = output.detach();
  }
}

class GradientHooks final : public autograd::PostAccumulateGradHook {
 public:
  void operator()(const at::Tensor& leaf) override {
    std::vector<std::shared_ptr<Entry>> entries;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      entries = entries_;
    }
    for (const auto& entry : entries) {
      raise(entry->ready(entry->state->get(), new at::Tensor(leaf)));
    }
  }

  uint64_t add(std::shared_ptr<State> state, GradientReady ready) {
    std::lock_guard<std::mutex> lock(mutex_);
    entries_.push_back(std::make_shared<Entry>(next_, std::move(state), ready));
    return next_++;
  }

  // The callback is dropped outside of the lock, since dropping it may remove another hook of the same leaf.
  void remove(uint64_t id) {
    std::shared_ptr<Entry> removed;
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) { return entry->id == id; });
    if (found != entries_.end()) {
      removed = std::move(*found);
      entries_.erase(found);
    }
  }

 private:
  struct Entry {
    Entry(uint64_t id, std::shared_ptr<State> state, GradientReady ready) : id(id), state(std::move(state)), ready(ready) {}
    uint64_t id;
    std::shared_ptr<State> state;
    GradientReady ready;
  };
  std::mutex mutex_;
  std::vector<std::shared_ptr<Entry>> entries_;
  uint64_t next_ = 0;
};

}  // namespace

extern "C" {

// Hangs a node with the callback behind `outputs`, which are replaced where they cannot carry one. The callback's state passes to the node
// or, where nothing needs a gradient or an error is returned, is dropped.
char* cupola_attach(TensorPointers inputs, size_t num_inputs, TensorPointers outputs, size_t num_outputs, TensorPointers saved,
                    size_t num_saved, const char* label, void* state, Drop drop, Backward backward) {
  return guarded([&] {
    std::shared_ptr<CallbackNode> node(new CallbackNode(label, state, drop, backward), autograd::deleteNode);
    const auto input_list = list_of(inputs, num_inputs);
    if (!autograd::compute_requires_grad(input_list)) {
      return;
    }
    node->set_next_edges(autograd::collect_next_edges(input_list));
    const auto saved_list = list_of(saved, num_saved);
    std::vector<int64_t> saved_outputs(num_saved, -1);
    for (size_t i = 0; i < num_outputs; ++i) {
      for (size_t k = 0; k < num_saved; ++k) {
        const bool is_input =
            std::any_of(input_list.begin(), input_list.end(), [&](const at::Tensor& input) { return input.is_same(saved_list[k]); });
        if (!is_input && outputs[i]->is_same(saved_list[k])) {
          saved_outputs[k] = static_cast<int64_t>(i);
        }
      }
      separate(*outputs[i], input_list);
      if (autograd::isDifferentiableType(outputs[i]->scalar_type())) {
        autograd::set_history(*outputs[i], node);
      } else {
        node->add_input_metadata(autograd::Node::undefined_input());
      }
    }
    for (size_t k = 0; k < num_saved; ++k) {
      const auto index = saved_outputs[k];
      node->save(index < 0 ? saved_list[k] : *outputs[index], index >= 0);
    }
  });
}

char* cupola_version(TensorPointer tensor, int64_t* version) {
  return guarded([&] { *version = tensor->is_inference() ? 0 : tensor->_version(); });
}

uint64_t cupola_sequence() { return at::sequence_number::peek(); }

// Gives each leaf that the graph of `outputs` reaches to `take`, which owns it. Nodes are younger than `since`.
char* cupola_leaves(TensorPointers outputs, size_t count, uint64_t since, void* sink, void (*take)(void* sink, TensorPointer leaf)) {
  return guarded([&] {
    std::unordered_set<autograd::Node*> seen;
    std::vector<autograd::Node*> open;
    const auto visit = [&](autograd::Node* node) {
      if (node != nullptr && seen.insert(node).second) {
        open.push_back(node);
      }
    };
    for (size_t i = 0; i < count; ++i) {
      if (outputs[i]->requires_grad()) {
        visit(autograd::impl::gradient_edge(*outputs[i]).function.get());
      }
    }
    while (!open.empty()) {
      auto* node = open.back();
      open.pop_back();
      if (auto* leaf = dynamic_cast<autograd::AccumulateGrad*>(node)) {
        take(sink, new at::Tensor(leaf->variable));
        continue;
      }
      TORCH_CHECK(node->sequence_nr() >= since, "it uses the result of ", node->name(),
                  ", which was computed outside of it: pass that tensor as an input");
      for (const auto& edge : node->next_edges()) {
        visit(edge.function.get());
      }
    }
  });
}

// d outputs / d inputs, weighted by `grads`; a result that nothing reaches is null.
char* cupola_grad(TensorPointers outputs, TensorPointers grads, size_t num_outputs, TensorPointers inputs, size_t num_inputs,
                  TensorPointer* results) {
  return guarded([&] {
    auto gradients = autograd::grad(list_of(outputs, num_outputs), list_of(inputs, num_inputs), list_of(grads, num_outputs),
                                    /*retain_graph=*/false, /*create_graph=*/false, /*allow_unused=*/true);
    for (size_t i = 0; i < num_inputs; ++i) {
      results[i] = gradients[i].defined() ? new at::Tensor(std::move(gradients[i])) : nullptr;
    }
  });
}

char* cupola_gradient_hook_add(TensorPointer leaf, void* state, Drop drop, GradientReady ready, uint64_t* id) {
  return guarded([&] {
    auto owned = std::make_shared<State>(state, drop);
    TORCH_CHECK(leaf->is_leaf() && leaf->requires_grad(), "a gradient hook needs a leaf that requires a gradient");
    auto& slot = autograd::impl::post_acc_grad_hooks(*leaf);
    if (slot == nullptr) {
      autograd::impl::set_post_acc_grad_hooks(*leaf, std::make_unique<GradientHooks>());
    }
    auto* hooks = dynamic_cast<GradientHooks*>(autograd::impl::post_acc_grad_hooks(*leaf).get());
    TORCH_CHECK(hooks != nullptr, "the leaf has a gradient hook of another kind");
    *id = hooks->add(std::move(owned), ready);
  });
}

char* cupola_gradient_hook_remove(TensorPointer leaf, uint64_t id) {
  return guarded([&] {
    if (auto* hooks = dynamic_cast<GradientHooks*>(autograd::impl::post_acc_grad_hooks(*leaf).get())) {
      hooks->remove(id);
    }
  });
}

}  // extern "C"
