"""Names of Chinese persons at random, in characters and in pinyin: 王晓东, Wang Xiaodong."""

import numpy as np

from .sides import choose


def _read(text: str) -> tuple[tuple[str, str], ...]:
    """Characters and pinyin, alternating."""
    words = text.split()
    return tuple(zip(words[::2], words[1::2], strict=True))


# The most frequent ones, and a few of two characters.
SURNAMES = _read("""
    王 Wang 李 Li 张 Zhang 刘 Liu 陈 Chen 杨 Yang 赵 Zhao 黄 Huang 周 Zhou 吴 Wu 徐 Xu 孙 Sun
    胡 Hu 朱 Zhu 高 Gao 林 Lin 何 He 郭 Guo 马 Ma 罗 Luo 梁 Liang 宋 Song 郑 Zheng 谢 Xie 韩 Han
    唐 Tang 冯 Feng 于 Yu 董 Dong 萧 Xiao 肖 Xiao 程 Cheng 曹 Cao 袁 Yuan 邓 Deng 许 Xu 傅 Fu
    沈 Shen 曾 Zeng 彭 Peng 苏 Su 卢 Lu 蒋 Jiang 蔡 Cai 贾 Jia 丁 Ding 魏 Wei 薛 Xue 叶 Ye 阎 Yan
    余 Yu 潘 Pan 杜 Du 戴 Dai 夏 Xia 钟 Zhong 汪 Wang 田 Tian 姜 Jiang 范 Fan 方 Fang 石 Shi
    姚 Yao 谭 Tan 廖 Liao 邹 Zou 熊 Xiong 金 Jin 陆 Lu 郝 Hao 孔 Kong 白 Bai 崔 Cui 康 Kang 毛 Mao
    邱 Qiu 秦 Qin 江 Jiang 史 Shi 顾 Gu 侯 Hou 邵 Shao 孟 Meng 龙 Long 万 Wan 段 Duan 雷 Lei
    钱 Qian 汤 Tang 尹 Yin 黎 Li 易 Yi 常 Chang 武 Wu 乔 Qiao 贺 He 赖 Lai 龚 Gong 文 Wen
    欧阳 Ouyang 司马 Sima 诸葛 Zhuge 上官 Shangguan
""")
# Characters of given names with one reading each.
GIVEN = _read("""
    伟 wei 芳 fang 娜 na 秀 xiu 英 ying 敏 min 静 jing 丽 li 强 qiang 磊 lei 军 jun 洋 yang
    勇 yong 艳 yan 杰 jie 娟 juan 涛 tao 明 ming 超 chao 兰 lan 霞 xia 平 ping 刚 gang 桂 gui
    文 wen 辉 hui 玲 ling 红 hong 建 jian 国 guo 华 hua 志 zhi 晓 xiao 小 xiao 东 dong 海 hai
    波 bo 宁 ning 浩 hao 宇 yu 轩 xuan 博 bo 子 zi 涵 han 欣 xin 怡 yi 雨 yu 婷 ting 雪 xue 梅 mei
    琳 lin 莉 li 佳 jia 慧 hui 颖 ying 倩 qian 薇 wei 丹 dan 萍 ping 燕 yan 凤 feng 春 chun 云 yun
    玉 yu 珍 zhen 淑 shu 美 mei 月 yue 爱 ai 金 jin 龙 long 飞 fei 鹏 peng 斌 bin 峰 feng 林 lin
    森 sen 松 song 亮 liang 光 guang 德 de 成 cheng 庆 qing 福 fu 祥 xiang 瑞 rui 康 kang 健 jian
    俊 jun 凯 kai 毅 yi 立 li 振 zhen 永 yong 新 xin 民 min 忠 zhong 义 yi 仁 ren 思 si 家 jia
    天 tian 一 yi 梦 meng 诗 shi 语 yu 若 ruo 晨 chen 阳 yang 昊 hao 泽 ze 翔 xiang 鑫 xin 洁 jie
    莹 ying 璐 lu 蕾 lei 菲 fei 冰 bing 露 lu 青 qing 彬 bin 武 wu 胜 sheng 利 li 生 sheng
    正 zheng 世 shi 荣 rong 才 cai 友 you 元 yuan 开 kai 达 da 雄 xiong 力 li 良 liang 山 shan
    江 jiang 川 chuan 群 qun 伯 bo 兵 bing 旭 xu 晶 jing 悦 yue 然 ran 心 xin 紫 zi 彤 tong 琪 qi
    瑶 yao 珊 shan 妍 yan 宏 hong 卫 wei 保 bao 清 qing 贵 gui 富 fu 学 xue 书 shu 礼 li 智 zhi
    信 xin 远 yuan 景 jing 少 shao 楠 nan
""")


def random_person(generator: np.random.Generator) -> tuple[str, str]:
    """A name in Chinese and English; two of three given names have two characters."""
    surname, family = choose(SURNAMES, generator)
    characters, given = choose(GIVEN, generator)
    if generator.integers(3):
        second, syllable = choose(GIVEN, generator)
        characters += second
        given += f"'{syllable}" if syllable[0] in "aeo" else syllable
    return surname + characters, f"{family} {given.capitalize()}"
