// What the page says, in its two languages.

const WORDS = {
  en: {
    language: "中文",
    picture: "Picture",
    draw: "Draw",
    input: "Picture to recognise",
    drop: "Drop a picture here, paste one, or click to choose",
    tap: "Choose a picture, or take a photo",
    choose: "Choose a picture",
    photograph: "Take a photo",
    paper: "Paper to draw a character on, by pen, finger or mouse",
    undo: "Undo",
    clear: "Clear",
    brush: "Brush",
    drawHint: "Press harder, or move more slowly, for a thicker stroke.",
    examples: "Examples to try",
    seen: "No picture was kept from all of these models: all but one have learned from each.",
    example: (name) => `Example: ${name}`,
    result: "Most likely",
    empty: "The five most likely classes will appear here.",
    truth: (name) => `This picture's label: ${name}`,
    spoken: (rows) => `Most likely ${rows[0]}. ${rows.length > 1 ? `Then ${rows.slice(1).join(", ")}.` : ""}`,
    lookFor: (name, share) => `${name}, ${share}: show where the model looked`,
    heat: (name) => `Where the model looked for “${name}”. Choose another bar to compare.`,
    heatOf: (name) => `Heat map over the picture: the warmer a place, the more it speaks for ${name}`,
    firstOf: (count) => `By the first of ${count} models.`,
    little: "little",
    much: "much",
    no_heat: {
      exported: "No heat map: this is an exported file, which keeps no networks to look into. Serve the run folder to see one.",
      no_map: "No heat map: this network has no map of features on which places could be shown.",
      failed: "The heat map could not be made.",
    },
    preview: "Your picture",
    sample: "Trained on sample data: this is a demonstration. On real pictures its answers mean little.",
    loading: "The model is loading …",
    about: (classes) => `recognises ${classes} classes`,
    privacy: "Your pictures are not kept.",
    service: "The service says:",
    again: "Try again",
    problems: {
      400: "This picture is empty or arrived damaged. Choose another one.",
      408: "The upload took too long. Try again, or take a smaller picture.",
      413: ({ megabytes, megapixels }) =>
        `This picture is too large. It may have ${megabytes} MB and ${megapixels} million pixels at most.`,
      415: "This is not a picture that can be read. Use a JPEG, PNG, WebP, BMP or GIF that does not move.",
      422: "This picture is damaged and cannot be read. Choose another one.",
      500: "Something went wrong in the service. Try again.",
      503: "The service is not available. Try again in a moment.",
      busy: "The service is busy. Try again in a moment.",
      loading: "The model is still loading. Try again in a moment.",
      stopped: "The model has stopped. Whoever runs the service must start it again.",
      offline: "The service cannot be reached. Is it still running?",
      nothing: "There is no picture in what you dropped or pasted.",
    },
  },
  zh: {
    language: "English",
    picture: "图片",
    draw: "手写",
    input: "待识别的图片",
    drop: "将图片拖放到此处、直接粘贴或点击选择",
    tap: "选择图片或拍照",
    choose: "选择图片",
    photograph: "拍照",
    paper: "画纸：用手写笔、手指或鼠标写一个字",
    undo: "撤销",
    clear: "清空",
    brush: "笔触",
    drawHint: "用力按压或放慢速度，笔画会更粗。",
    examples: "试试这些示例",
    seen: "没有任何图片是所有模型都未见过的：除一个模型外，其余模型都学习过这些图片。",
    example: (name) => `示例：${name}`,
    result: "最可能的结果",
    empty: "最可能的五个类别将显示在这里。",
    truth: (name) => `这张图片的标签：${name}`,
    spoken: (rows) => `最可能是${rows[0]}。${rows.length > 1 ? `其次是${rows.slice(1).join("、")}。` : ""}`,
    lookFor: (name, share) => `${name}，${share}：显示模型关注的位置`,
    heat: (name) => `模型判断“${name}”时关注的位置。点击其他条目可作比较。`,
    heatOf: (name) => `叠加在图片上的热力图：颜色越暖，该处越支持“${name}”`,
    firstOf: (count) => `取自 ${count} 个模型中的第一个。`,
    little: "低",
    much: "高",
    no_heat: {
      exported: "没有热力图：这是导出的模型文件，无法查看网络内部。请改用训练结果文件夹启动服务。",
      no_map: "没有热力图：该网络没有可以定位的特征图。",
      failed: "热力图生成失败。",
    },
    preview: "您的图片",
    sample: "模型由示例数据训练，仅供演示；对真实图片的结果没有参考价值。",
    loading: "模型加载中……",
    about: (classes) => `可识别 ${classes} 个类别`,
    privacy: "您的图片不会被保存。",
    service: "服务返回：",
    again: "重试",
    problems: {
      400: "图片为空或传输中损坏，请换一张。",
      408: "上传时间过长，请重试或换一张小一些的图片。",
      413: ({ megabytes, megapixels }) => `图片过大：最多 ${megabytes} MB、${megapixels} 百万像素。`,
      415: "无法识别的文件。请使用 JPEG、PNG、WebP、BMP 或静态 GIF 图片。",
      422: "图片已损坏，无法读取，请换一张。",
      500: "服务出错，请重试。",
      503: "服务暂不可用，请稍后重试。",
      busy: "服务繁忙，请稍后重试。",
      loading: "模型仍在加载，请稍后重试。",
      stopped: "模型已停止运行，请联系服务管理员重新启动服务。",
      offline: "无法连接到服务，请确认服务仍在运行。",
      nothing: "拖放或粘贴的内容中没有图片。",
    },
  },
};

const KEY = "podium-language";

function remembered() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage may be forbidden
  }
}

let language = remembered() ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");

/** The words of the language chosen. */
export const words = () => WORDS[language];

/** A share in [0, 1] as the language writes it. */
export const percent = (share) =>
  new Intl.NumberFormat(language, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(share);

/** Fill in all elements that name their words: `data-text` their content, `data-label` their accessible name. */
export function say() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = words()[element.dataset.text];
  for (const element of document.querySelectorAll("[data-label]"))
    element.setAttribute("aria-label", words()[element.dataset.label]);
}

export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  try {
    localStorage.setItem(KEY, language);
  } catch {
    // then it is chosen anew next time
  }
}
