// What happens where ggml would end the process.
#include <new>
#include <string>

#include "check.hpp"
#include "fastplr/errors.hpp"
#include "ggml.h"
#include "model/llama_log.hpp"

using fastplr::ModelError;
using fastplr::NativeGuard;

namespace {

ggml_context* small_context() {
    return ggml_init({/*mem_size=*/1 << 20, /*mem_buffer=*/nullptr, /*no_alloc=*/true});
}

}  // namespace

TEST_CASE("a failed assertion of ggml is an exception") {
    fastplr::initialise_llama();
    ggml_context* context = small_context();
    {
        const NativeGuard guard;
        // Matrices whose rows do not have the same length.
        ggml_tensor* a = ggml_new_tensor_2d(context, GGML_TYPE_F32, 8, 2);
        ggml_tensor* b = ggml_new_tensor_2d(context, GGML_TYPE_F32, 9, 2);
        CHECK_THROWS(ggml_mul_mat(context, a, b), ModelError, "GGML_ASSERT(ggml_can_mul_mat(a, b)) failed");
        CHECK(!guard.out_of_memory());
    }
    ggml_free(context);
}

TEST_CASE("memory that ggml cannot have is std::bad_alloc, and the guard knows") {
    fastplr::initialise_llama();
    const NativeGuard guard;
    CHECK(!guard.out_of_memory());
    CHECK_THROWS(ggml_init({/*mem_size=*/std::size_t{1} << 60, /*mem_buffer=*/nullptr, /*no_alloc=*/false}),
                 std::bad_alloc, "");
    CHECK(guard.out_of_memory());
    CHECK(guard.errors().find("1152921504606846976 bytes could not be allocated") != std::string::npos);
}

TEST_CASE("a guard begins anew") {
    const NativeGuard guard;
    CHECK(!guard.out_of_memory());
    CHECK(guard.errors() == "no further reason given");
}
