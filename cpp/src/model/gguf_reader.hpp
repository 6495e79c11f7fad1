// A bounded reader of GGUF files, versions 2 and 3. Every model file passes through it before llama.cpp sees
// it.
//
// Format: ggml/docs/gguf.md and ggml/src/gguf.cpp of the pinned llama.cpp. Only the header, the metadata and
// the list of tensors are read, never the tensor data; whatever gguf.cpp would refuse, abort on, or accept
// and misread is refused here with a message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "ggml.h"

namespace fastplr::gguf {

/// Types of metadata values, numbered as in the file.
enum class ValueType : std::uint32_t {
    uint8 = 0,
    int8 = 1,
    uint16 = 2,
    int16 = 3,
    uint32 = 4,
    int32 = 5,
    float32 = 6,
    boolean = 7,
    string = 8,
    array = 9,
    uint64 = 10,
    int64 = 11,
    float64 = 12,
};

/// "uint32", "string", ...; "type 77" where the number is unknown.
std::string value_type_name(ValueType type);

using Scalar = std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t,
                            std::int32_t, float, bool, std::string, std::uint64_t, std::int64_t, double>;

/// An array of the metadata. Arrays can hold a whole vocabulary, so only a preview is kept; the functions
/// below read the rest on demand.
struct Array {
    ValueType element_type = ValueType::uint8;
    std::uint64_t count = 0;
    std::uint64_t position = 0;  ///< absolute position of the first element in the file
    std::vector<Scalar>
        preview;  ///< the first elements, at most kPreviewElements; strings are cut to kPreviewBytes
};

using Value = std::variant<Scalar, Array>;

struct MetadataEntry {
    std::string key;
    Value value;
};

struct Tensor {
    std::string name;
    ggml_type type = GGML_TYPE_F32;
    std::vector<std::uint64_t>
        dims;                  ///< fastest varying first, as in ggml: dims[0] is the row length; never 0
    std::uint64_t offset = 0;  ///< absolute position of the data in the file
    std::uint64_t n_elements = 0;
    std::uint64_t n_bytes = 0;
};

/// "[576, 49152]"
std::string dims_text(const std::vector<std::uint64_t>& dims);

inline constexpr std::size_t kPreviewElements = 8;
inline constexpr std::size_t kPreviewBytes = 64;
/// Bytes that header, metadata and tensor list may take together. The largest vocabularies known (262k tokens
/// with merges) need under 20 MB.
inline constexpr std::uint64_t kMaxHeaderBytes = std::uint64_t{256} << 20;
inline constexpr std::uint64_t kMaxMetadataEntries = 1u << 16;
inline constexpr std::uint64_t kMaxTensors = 1u << 17;
/// What read_tensor_bytes() reads at most unless told otherwise.
inline constexpr std::uint64_t kMaxTensorReadBytes = std::uint64_t{1} << 30;

/// What a GGUF file says about itself. All sizes and positions are already checked against the file's length.
class File {
  public:
    std::string path;
    std::uint64_t file_size = 0;
    std::uint32_t version = 0;
    std::uint64_t alignment = 32;         ///< of tensor data, in bytes, relative to data_position
    std::uint64_t data_position = 0;      ///< absolute position where tensor data begins
    std::vector<MetadataEntry> metadata;  ///< in the file's order, keys unique
    std::vector<Tensor> tensors;          ///< in the file's order, names unique

    /// nullptr where the key is missing or of the other kind.
    const Scalar* find_scalar(std::string_view key) const;
    const Array* find_array(std::string_view key) const;
    bool has_key(std::string_view key) const;

    /// The string at `key`, if there is one.
    std::optional<std::string> find_string(std::string_view key) const;
    /// The value of any integer type at `key` if it is not negative.
    std::optional<std::uint64_t> find_unsigned(std::string_view key) const;

    /// nullptr where there is no tensor of that name.
    const Tensor* find_tensor(std::string_view name) const;

    /// \throws ModelError with the path before `message`.
    [[noreturn]] void fail(const std::string& message) const;

    /// Fills the look-up tables below; open() calls it once.
    void index();

  private:
    const Value* find(std::string_view key) const;
    std::unordered_map<std::string, std::size_t> key_index_;
    std::unordered_map<std::string, std::size_t> tensor_index_;
};

/// Reads and checks the structure of the file at `path` (its meaning as a model is checked by check_model()
/// in model_checks.hpp).
/// \throws ModelError naming the path, what was found and what was expected.
File open(const std::string& path);

/// All strings of the array at `key`. \throws ModelError if it is missing, no array of strings, or the file
/// changed.
std::vector<std::string> read_strings(const File& file, std::string_view key);

/// Calls `visit(index, text)` for each string of the array at `key`, holding one at a time.
void for_each_string(const File& file, std::string_view key,
                     const std::function<void(std::uint64_t, std::string_view)>& visit);

/// All values of an array of integers or booleans. \throws ModelError also for a uint64 beyond the range of
/// int64.
std::vector<std::int64_t> read_integers(const File& file, std::string_view key);

/// All values of an array of any numeric type, as float64.
std::vector<double> read_doubles(const File& file, std::string_view key);

/// The raw data of the tensor `name`. \throws ModelError if there is none or it has more than `max_bytes`
/// bytes.
std::vector<std::byte> read_tensor_bytes(const File& file, std::string_view name,
                                         std::uint64_t max_bytes = kMaxTensorReadBytes);

/// The data of a tensor of type F64 (F32, I32), which must have exactly the shape `dims` (fastest varying
/// first) where that is given.
/// \throws ModelError naming found and expected type or shape.
std::vector<double> read_tensor_f64(const File& file, std::string_view name,
                                    const std::vector<std::uint64_t>* dims = nullptr);
std::vector<float> read_tensor_f32(const File& file, std::string_view name,
                                   const std::vector<std::uint64_t>* dims = nullptr);
std::vector<std::int32_t> read_tensor_i32(const File& file, std::string_view name,
                                          const std::vector<std::uint64_t>* dims = nullptr);

}  // namespace fastplr::gguf
